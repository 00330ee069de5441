import { expect, test } from 'vitest'
import { numberOf, valueOf, withValue } from './taskfile'

const file = `# Made by trex new.
name = "reviews"  # a comment
goal = "say # what"

[data]
train = "/a.csv"

[budget]
trials = 12  # default
`

test.each([
  ['', 'name', '"reviews"'],
  ['', 'goal', '"say # what"'],
  ['data', 'train', '"/a.csv"'],
  ['budget', 'trials', '12'],
  ['', 'train', null],
  ['train', 'max_steps', null],
])('[%s] %s is %s', (table, key, expected) => expect(valueOf(file, table, key)).toBe(expected))

test('numbers are read, and what is none is nothing', () => {
  expect(numberOf(file, 'budget', 'trials')).toBe(12)
  expect(numberOf(file, '', 'name')).toBe(null)
  expect(numberOf('[train]\nlearning_rate = 2e-4\nmax_steps = 1_000', 'train', 'learning_rate')).toBe(0.0002)
  expect(numberOf('[train]\nmax_steps = 1_000', 'train', 'max_steps')).toBe(1000)
})

test('a change touches its own line', () => {
  const changed = withValue(file, 'budget', 'trials', '30')
  expect(changed).toBe(file.replace('trials = 12  # default', 'trials = 30'))
  expect(withValue(file, 'data', 'dev', '"/b.csv"')).toBe(file.replace('"/a.csv"\n', '"/a.csv"\ndev = "/b.csv"\n'))
  expect(withValue(file, '', 'seed', '1')).toBe(file.replace('"say # what"\n', '"say # what"\nseed = 1\n'))
})

test('a table that is missing is added at the end', () => {
  expect(withValue(file, 'train', 'max_steps', '60')).toBe(`${file}\n[train]\nmax_steps = 60\n`)
  expect(valueOf(withValue('', 'train', 'max_steps', '60'), 'train', 'max_steps')).toBe('60')
})

test('a template over several lines is no table', () => {
  const text = '[prompt]\ntemplate = """\n{input}"""\noptions = ["a", "b"]\n\n[budget]\ntrials = 1\n'
  expect(valueOf(text, 'prompt', 'options')).toBe('["a", "b"]')
  expect(withValue(text, 'budget', 'trials', '2')).toBe(text.replace('trials = 1', 'trials = 2'))
})
