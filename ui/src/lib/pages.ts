// Which pages a part of a list touches.

/** Pages of `size` rows that hold `length` rows from `first` on. */
export function pagesInView(first: number, length: number, size: number): number[] {
  if (length <= 0) return []
  const from = Math.floor(first / size)
  const to = Math.floor((first + length - 1) / size)
  return Array.from({ length: to - from + 1 }, (_, at) => from + at)
}
