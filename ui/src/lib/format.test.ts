import { expect, test } from 'vitest'
import { bytes, difference, duration, score, signed, shares } from './format'

test('a score carries its interval and its number of items', () => {
  expect(score({ split: 'select', value: 0.70749, low: 0.66, high: 0.75, n: 400 })).toBe('0.707 [0.660, 0.750] n=400')
  expect(score(null)).toBe('–')
})

test.each([
  [0.13, '+0.130'],
  [-0.02, '−0.020'],
  [0, '+0.000'],
])('a difference has a sign: %d', (value, expected) => {
  expect(signed(value)).toBe(expected)
})

test('a difference carries its interval', () => {
  expect(difference([0.13, 0.088, 0.172], 500)).toBe('+0.130 [+0.088, +0.172] n=500')
})

test.each([
  [2.34, '2.3 s'],
  [42, '42 s'],
  [75, '1 min 15 s'],
  [3720, '1 h 2 min'],
  [Infinity, '–'],
])('durations are readable: %d', (value, expected) => {
  expect(duration(value)).toBe(expected)
})

test.each([
  [null, '–'],
  [999, '999 B'],
  [1500, '1.5 kB'],
  [98_362_432, '98 MB'],
])('sizes are readable: %d', (value, expected) => {
  expect(bytes(value)).toBe(expected)
})

test('counts are sorted, cut and measured against the largest', () => {
  expect(shares({ b: 5, a: 10, c: 5, d: 1 }, 3)).toEqual([
    ['a', 10, 1],
    ['b', 5, 0.5],
    ['c', 5, 0.5],
  ])
  expect(shares({}, 3)).toEqual([])
})
