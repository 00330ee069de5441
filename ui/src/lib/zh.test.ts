import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { zh } from './zh'

/** All texts that the screens ask for, from their sources. */
function texts(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return entry.name === 'wasm' ? [] : texts(path)
    if (!/\.(svelte|ts)$/.test(entry.name) || entry.name.endsWith('.test.ts')) return []
    const found = readFileSync(path, 'utf8').matchAll(/\bt\(\s*'((?:[^'\\]|\\.)*)'/g)
    return [...found].map((match) => (match[1] ?? '').replace(/\\'/g, "'"))
  })
}

test('every text has a translation', () => {
  const asked = new Set(texts(join(import.meta.dirname, '..')))
  expect(asked.size).toBeGreaterThan(150)
  expect([...asked].filter((text) => !(text in zh))).toEqual([])
})

test('a translation fills in the same values', () => {
  const values = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(String).sort()
  // The English of what the doctor found is the program's own.
  const of = Object.entries(zh).filter(([key]) => !key.startsWith('doctor.'))
  for (const [english, chinese] of of) expect(values(chinese), english).toEqual(values(english))
})
