// What the engine says about a run (hypotheses, reasons, insights), in Chinese. The engine speaks English
// in files, reports and on the command line; here its sentences are recognised by their form. What is not recognised, such as
// the words of a person or of a language model, stays as it is.
import { engineZh } from './engine-zh'

interface Form {
  pattern: RegExp
  chinese: string
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** Whole sentences first, then forms with the most words of their own, so that none is taken for a part of another. */
const forms: Form[] = Object.entries(engineZh)
  .filter(([english]) => english.includes('{}'))
  .sort(([a], [b]) => b.length - a.length)
  .map(([english, chinese]) => ({
    pattern: new RegExp(`^${english.split('{}').map(escaped).join('(.+?)')}$`, 's'),
    chinese,
  }))

/** The Chinese of a text of the engine; absent where it has none. */
export function inChinese(text: string): string | undefined {
  const whole = engineZh[text]
  if (whole !== undefined) return whole
  for (const { pattern, chinese } of forms) {
    const match = pattern.exec(text)
    if (!match) continue
    return chinese.replace(/\{(\d)\}/g, (_, part: string) => partInChinese(match[Number(part) + 1] ?? ''))
  }
  return undefined
}

/** A part is a list of texts of the engine, such a text, or a name or number that stays as it is. */
function partInChinese(text: string): string {
  const pieces = text.split(/, (?![^(]*\))/).map((one) => inChinese(one))
  if (pieces.length > 1 && pieces.every((one) => one !== undefined)) return pieces.join('，')
  return inChinese(text) ?? text
}
