// Words of the screens in two languages. The key is the English text, so a missing translation shows English, and the
// test `every text has a translation` lists what is missing.
import { inChinese } from './engine'
import { zh } from './zh'
import { settings } from './state.svelte'

/** A moment in the form of the chosen language, in local time. */
export const dateTime = (ms: number) => new Date(ms).toLocaleString(settings.value.language === 'zh' ? 'zh-CN' : 'en-GB')

/** The text in the chosen language; `{name}` is filled in. */
export function t(text: string, values: Record<string, string | number> = {}): string {
  const found = settings.value.language === 'zh' ? (zh[text] ?? text) : text
  return found.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole))
}

/** A text of the engine in the chosen language; the words of persons and of language models stay as they are. */
export function tEngine(text: string): string {
  return settings.value.language === 'zh' ? (inChinese(text) ?? text) : text
}
