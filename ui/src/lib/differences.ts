// What differs between two JSON values, by path.

export interface Difference {
  path: string
  from: string
  to: string
}

const shown = (value: unknown): string => (value === undefined ? '–' : typeof value === 'string' ? value : JSON.stringify(value))
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Paths whose values differ, in the order of the names. Lists are compared as wholes: their order means something. */
export function differences(from: unknown, to: unknown, path = ''): Difference[] {
  if (isRecord(from) && isRecord(to)) {
    const keys = [...new Set([...Object.keys(from), ...Object.keys(to)])].sort()
    return keys.flatMap((key) => differences(from[key], to[key], path === '' ? key : `${path}.${key}`))
  }
  return JSON.stringify(from) === JSON.stringify(to) ? [] : [{ path, from: shown(from), to: shown(to) }]
}

/** Every value below a JSON value, by path, each as JSON: the names and values that `trex review edit --set` takes. */
export function leaves(value: unknown, path = ''): [string, string][] {
  if (isRecord(value)) return Object.entries(value).flatMap(([key, inner]) => leaves(inner, path === '' ? key : `${path}.${key}`))
  return [[path, JSON.stringify(value) ?? 'null']]
}
