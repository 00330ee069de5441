// Numbers as people read them: with units, and scores never without interval and number of items.
import type { ShownScore } from './bindings'

export function score(value: ShownScore | null | undefined): string {
  if (!value) return '–'
  return `${value.value.toFixed(3)} [${value.low.toFixed(3)}, ${value.high.toFixed(3)}] n=${value.n}`
}

export function signed(value: number, digits = 3): string {
  return (value < 0 ? '−' : '+') + Math.abs(value).toFixed(digits)
}

export function difference([diff, low, high]: number[], n: number | null): string {
  const items = n == null ? '' : ` n=${n}`
  return `${signed(diff ?? 0)} [${signed(low ?? 0)}, ${signed(high ?? 0)}]${items}`
}

export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–'
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

export function bytes(count: number | null | undefined): string {
  if (count == null) return '–'
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = count
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`
}

export function count(value: number): string {
  return new Intl.NumberFormat('en-US').format(value)
}

/** The largest counts with their share of the largest one. */
export function shares(counts: Record<string, number>, most: number): [string, number, number][] {
  const sorted = Object.entries(counts).sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]))
  const largest = sorted[0]?.[1] ?? 1
  return sorted.slice(0, most).map(([label, n]) => [label, n, n / Math.max(1, largest)])
}
