import { expect, test } from 'vitest'
import { differences, leaves } from './differences'

test('only what differs is listed, by path', () => {
  const from = { config: { lr: 0.001, lora: { r: 8 } }, recipe: { operators: [{ op: 'a' }] } }
  const to = { config: { lr: 0.001, lora: { r: 16 }, seed: 1 }, recipe: { operators: [{ op: 'a' }, { op: 'b' }] } }
  expect(differences(from, to)).toEqual([
    { path: 'config.lora.r', from: '8', to: '16' },
    { path: 'config.seed', from: '–', to: '1' },
    { path: 'recipe.operators', from: '[{"op":"a"}]', to: '[{"op":"a"},{"op":"b"}]' },
  ])
  expect(differences(from, from)).toEqual([])
  expect(differences(undefined, { a: 1 })).toEqual([{ path: '', from: '–', to: '{"a":1}' }])
})

test('every value has a path', () => {
  expect(leaves({ config: { lr: 0.001, lora: { r: 8 } }, why: 'x', ops: [1, 2] })).toEqual([
    ['config.lr', '0.001'],
    ['config.lora.r', '8'],
    ['why', '"x"'],
    ['ops', '[1,2]'],
  ])
})
