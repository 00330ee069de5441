import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { inChinese } from './engine'
import { engineZh } from './engine-zh'

const root = join(import.meta.dirname, '..', '..', '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

/** Sources of what a person reads of a search. */
const sources = [
  'crates/trex-research/src/strategies.rs',
  'crates/trex-research/src/moves.rs',
  'crates/trex-research/src/surrogate.rs',
  'crates/trex-research/src/distil.rs',
  'crates/trex-search/src/explain.rs',
]

/** Names of fields and rules, and what is only a part of a text, beside the texts in these files. */
const notTexts = /^[a-z_.]+$|^\{\}$|^[^a-z]*$|^playbook\/|^quality$/i

/** The texts of a Rust file: its string literals without comments and tests, `{}` for all that is filled in. */
function texts(source: string): string[] {
  const code = (source.split('#[cfg(test)]')[0] ?? '').replace(/^\s*\/\/.*$|reason = "[^"]*"/gm, '')
  const literals = [...code.matchAll(/"((?:[^"\\]|\\.)*)"/gs)].map((match) => match[1] ?? '')
  const plain = literals.map((text) => text.replace(/\\\n\s*/g, '').replace(/\{[^}]*\}/g, '{}'))
  return plain.filter((text) => text.includes(' ') && !notTexts.test(text.trim())).map((text) => text.replace(/^; /, '{}; '))
}

test('every text of the Playbook and of the search has a translation', () => {
  const all = sources.flatMap((path) => texts(read(path)))
  expect(all.length).toBeGreaterThan(80)
  expect([...new Set(all)].filter((text) => !(text in engineZh))).toEqual([])
})

test('every rationale of a proposal has a translation', () => {
  const found = [...read('assets/playbook/proposals.toml').matchAll(/^rationale = "(.*)"$/gm)].map((match) => match[1] ?? '')
  expect(found.length).toBeGreaterThan(15)
  expect(found.filter((text) => !(text in engineZh))).toEqual([])
})

test('a translation uses every part of its text once', () => {
  for (const [english, chinese] of Object.entries(engineZh)) {
    const parts = [...chinese.matchAll(/\{(\d)\}/g)].map((match) => Number(match[1])).sort()
    expect(parts, english).toEqual([...Array(english.split('{}').length - 1).keys()])
  }
})

test.each([
  ['standard recipe', '标准配方'],
  ['exact duplicates: 120 of 1600 (7.5 %)', '完全重复：1600 行中的 120 行（7.5 %）'],
  [
    'standard recipe at learning rate 0.001, constant, in twice the steps of half the examples, and everything that the profile asks for',
    '标准配方，学习率 0.001，恒定学习率，步数加倍、每步样例减半，并加上数据概况所要求的一切',
  ],
  [
    'adding near_dedup (threshold 0.8), learning_rate 0.003 instead of 0.001, starting from s1.e1.a, raised accuracy by 0.050 over the incumbent (95 % interval +0.010 to +0.090, 400 items)',
    '加入 near_dedup（threshold 0.8），learning_rate 用 0.003 代替 0.001，起点为 s1.e1.a，使 accuracy 比此前最好的高 0.050（95 % 区间 +0.010 到 +0.090，400 题）',
  ],
  [
    's1.e2.a has the best score on the select split (0.575, the untouched base has 0.550), but the select split and the sealed one together show no gain.',
    's1.e2.a 在选择集上分数最高（0.575，未改动的基座 为 0.550），但选择集与密封集合起来没有显示提升。',
  ],
  ['7.5 % of rows repeat an earlier row', '7.5 % 的行重复了前面的行'],
  [
    'highest puct score 0.512 (value 0.400, prior 0.90); the last experiments brought no gain, so another kind goes first',
    'puct 得分最高：0.512（价值 0.400，先验 0.90）；最近的实验没有提升，因此换一类策略',
  ],
])('%s', (english, chinese) => {
  expect(inChinese(english)).toBe(chinese)
})

test('the words of a person stay as they are', () => {
  expect(inChinese('Answer politely, in two sentences.')).toBeUndefined()
})
