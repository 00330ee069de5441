import { expect, test } from 'vitest'
import { pagesInView } from './pages'

test.each([
  [0, 10, [0]],
  [95, 10, [0, 1]],
  [100, 100, [1]],
  [259_990, 10, [2599]],
  [0, 0, []],
])('%i rows from %i on', (first, length, expected) => expect(pagesInView(first, length, 100)).toEqual(expected))
