import { expect, test } from 'vitest'
import { join, moved, split, without, withStep } from './recipe'

const text = `name = "r"

[[sources]]
path = "rows.jsonl"

[[operators]]
op = "exact_dedup"

[[operators]]
# Short rows teach little.
op = "length_filter"
min_chars = 3

[split]
dev = 0.1
`

test('a text is taken apart and put together again', () => {
  const parts = split(text)
  expect(parts.steps.map((step) => step.op)).toEqual(['exact_dedup', 'length_filter'])
  expect(join(parts)).toBe(text)
})

test('a step moves with its comments, and comes back', () => {
  const there = moved(text, 1, 0)
  expect(split(there).steps.map((step) => step.op)).toEqual(['length_filter', 'exact_dedup'])
  expect(there).toContain('# Short rows teach little.')
  expect(there.endsWith('[split]\ndev = 0.1\n')).toBe(true)
  expect(moved(there, 0, 1)).toBe(text)
})

test('steps are added and taken away', () => {
  const more = withStep(text, 'near_dedup')
  expect(split(more).steps.at(-1)?.op).toBe('near_dedup')
  expect(without(more, 2)).toBe(text)
  expect(split(withStep('name = "x"\n', 'normalise')).steps).toHaveLength(1)
})

test.each(['', 'name = "x"', '[[operators]]', '\n\n[[ operators ]]\nop = 3\n'])('odd texts do no harm: %j', (odd) => {
  expect(split(join(split(odd)))).toEqual(split(odd))
  expect(() => moved(odd, 5, 9)).not.toThrow()
})
