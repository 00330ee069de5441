// Which parts of a text hold words of a question, for the eye only: what was found, and why, is for `trex kb` to say.

export interface Part {
  text: string
  hit: boolean
}

const MIN_LETTERS = 3

/** The text in parts; parts that begin a word of the question are hits. */
export function marked(text: string, question: string): Part[] {
  const words = [...new Set(question.toLowerCase().split(/[^\p{L}\p{N}_]+/u))].filter((word) => word.length >= MIN_LETTERS)
  if (words.length === 0) return [{ text, hit: false }]
  // Longest first, so that "rates" is one hit and not "rate" and a rest. Words hold letters, digits and underscores only.
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(${words.sort((a, b) => b.length - a.length).join('|')})`, 'giu')
  const parts: Part[] = []
  let end = 0
  for (const match of text.matchAll(pattern)) {
    if (match.index > end) parts.push({ text: text.slice(end, match.index), hit: false })
    parts.push({ text: match[0], hit: true })
    end = match.index + match[0].length
  }
  if (end < text.length) parts.push({ text: text.slice(end), hit: false })
  return parts
}
