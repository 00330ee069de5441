// Single settings in the text of a task file, so that a form and the text are one thing: a change touches its own line and
// leaves comments and everything else as they are. What a value means, and whether it is right, is for `trex` to say.

const header = (line: string) => /^\s*\[\s*([\w.-]+)\s*\]\s*(#.*)?$/.exec(line)?.[1] ?? null
const escaped = (key: string) => key.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** First and last line (exclusive) of a table; the head of the file where `table` is empty. */
function range(lines: string[], table: string): [number, number] | null {
  const starts = lines.map(header)
  const from = table === '' ? 0 : starts.findIndex((name) => name === table) + 1
  if (table !== '' && from === 0) return null
  const next = lines.findIndex((line, at) => at >= from && /^\s*\[/.test(line) && (table !== '' || at > 0 || header(line) !== null))
  return [from, next < 0 ? lines.length : next]
}

/** The value of a key as it is written, without its comment. */
export function valueOf(text: string, table: string, key: string): string | null {
  const lines = text.split('\n')
  const found = range(lines, table)
  if (!found) return null
  const pattern = new RegExp(`^\\s*${escaped(key)}\\s*=\\s*("(?:[^"\\\\]|\\\\.)*"|'[^']*'|[^#]*)`)
  for (const line of lines.slice(...found)) {
    const value = pattern.exec(line)?.[1]
    if (value !== undefined) return value.trim()
  }
  return null
}

/** A number, or nothing where there is none. */
export function numberOf(text: string, table: string, key: string): number | null {
  const value = valueOf(text, table, key)
  const number = value === null ? NaN : Number(value.replaceAll('_', ''))
  return Number.isFinite(number) ? number : null
}

/** The text with a key set; `value` is TOML. */
export function withValue(text: string, table: string, key: string, value: string): string {
  const lines = text.split('\n')
  const found = range(lines, table)
  if (!found) return `${text.trimEnd()}\n\n[${table}]\n${key} = ${value}\n`
  const [from, to] = found
  const pattern = new RegExp(`^\\s*${escaped(key)}\\s*=`)
  const at = lines.findIndex((line, index) => index >= from && index < to && pattern.test(line))
  if (at >= 0) lines[at] = `${key} = ${value}`
  else {
    let end = to
    while (end > from && (lines[end - 1] ?? '').trim() === '') end -= 1
    lines.splice(end, 0, `${key} = ${value}`)
  }
  return lines.join('\n')
}
