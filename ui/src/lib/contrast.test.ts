import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

type Rgb = [number, number, number]

const css = readFileSync(join(import.meta.dirname, '../tokens.css'), 'utf8')

/** Tokens of each appearance; what one does not name it has from the first. */
function themes(): Record<string, Record<string, string>> {
  const blocks = [...css.matchAll(/:root(?:\[data-theme='(\w+)'\])?\s*\{([^}]*)\}/g)]
  const read = (text: string) => Object.fromEntries([...text.matchAll(/--([\w-]+):\s*(#[0-9a-f]{6})\s*;/g)].map((match) => [match[1], match[2]]))
  const light = read(blocks.find((block) => !block[1])?.[2] ?? '')
  return Object.fromEntries(blocks.map((block) => [block[1] ?? 'light', { ...light, ...read(block[2] ?? '') }]))
}

/** WCAG 2.2, "relative luminance" and "contrast ratio". */
function contrast(a: string, b: string): number {
  const rgb = (hex: string) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255) as Rgb
  const linear = (value: number) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  const luminance = ([r, g, b]: Rgb) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
  const [x, y] = [luminance(rgb(a)), luminance(rgb(b))]
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05)
}

const grounds = ['bg', 'panel', 'rail', 'accent-soft', 'warn-soft', 'bad-soft']
const texts: [string, string[]][] = [
  ['ink', [...grounds, 'trained']],
  ['dim', ['bg', 'panel', 'rail', 'accent-soft', 'warn-soft']],
  ['accent', ['bg', 'panel', 'rail', 'accent-soft']],
  ['good', ['bg', 'panel', 'accent-soft']],
  ['better', ['bg', 'panel', 'accent-soft']],
  ['worse', ['bg', 'panel', 'accent-soft']],
  ['warn', ['bg', 'panel', 'accent-soft']],
  ['bad', ['bg', 'panel', 'bad-soft', 'accent-soft']],
]

test('there are three appearances', () => expect(Object.keys(themes()).sort()).toEqual(['contrast', 'dark', 'light']))

test.each(Object.entries(themes()))('text stands out with 4.5 to 1 and borders of controls with 3 to 1: %s', (_, theme) => {
  const low: string[] = []
  const check = (text: string, ground: string, least: number) => {
    const ratio = contrast(theme[text] ?? '', theme[ground] ?? '')
    if (!(ratio >= least)) low.push(`${text} on ${ground}: ${ratio.toFixed(2)}`)
  }
  for (const [text, on] of texts) on.forEach((ground) => check(text, ground, 4.5))
  check('on-accent', 'accent', 4.5)
  for (const ground of ['bg', 'panel']) check('line-strong', ground, 3)
  expect(low).toEqual([])
})
