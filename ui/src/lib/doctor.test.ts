import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, expect, test, vi } from 'vitest'
import { zh } from './zh'

vi.mock('./state.svelte', () => ({ settings: { value: { language: 'zh' } } }))
const { settings } = await import('./state.svelte')
const { detail, detailKey, hint, subject, subjectKey } = await import('./doctor')

interface Choice {
  enum?: string[]
  oneOf?: { const: string }[]
}
const schema = JSON.parse(readFileSync(join(import.meta.dirname, '../../../assets/schemas/doctor.schema.json'), 'utf8'))
const namesOf = (type: string) => {
  const choice = schema.$defs[type] as Choice
  return [...(choice.enum ?? []), ...(choice.oneOf ?? []).map((one) => one.const)]
}

beforeEach(() => (settings.value.language = 'zh'))

test('everything that the doctor names has a translation', () => {
  const subjects = namesOf('Subject').filter((name) => name !== 'workspace' && name !== 'hardware')
  expect(subjects.length).toBeGreaterThan(8)
  const wanted = [...subjects.map(subjectKey), ...namesOf('Situation').map(detailKey)]
  expect(wanted.filter((key) => !(key in zh))).toEqual([])
})

const found = { what: 'disk', ok: true, detail: '9.0 GiB free', situation: 'disk_free', values: { free: '9.0 GiB' } }

test('a finding is told in the language of the page, with its values', () => {
  expect([subject(found), detail(found), hint(found)]).toEqual(['磁盘', '可用 9.0 GiB', null])
  settings.value.language = 'en'
  expect([subject(found), detail(found)]).toEqual(['disk', '9.0 GiB free'])
})

test('what has no name stays as the program says it', () => {
  const failed = { what: 'disk', ok: false, detail: 'error[x]: gone', hint: 'look there' }
  expect([detail(failed), hint(failed)]).toEqual(['error[x]: gone', 'look there'])
  const missing = { ...failed, situation: 'no_embedder' }
  expect(hint(missing)).toBe('运行 `cargo xtask setup` 即可获取')
})
