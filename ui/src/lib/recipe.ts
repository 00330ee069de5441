// The steps of a recipe as blocks of its text, so that cards and TOML are one thing: moving a card moves its lines, with
// their comments, and nothing else of the file changes. What the lines mean is for `trex recipe check` to say.

export interface Step {
  /** Name of the operator; empty where the block has none. */
  op: string
  /** The lines of the block. */
  text: string
}

export interface RecipeText {
  /** Everything before the first step. */
  head: string
  steps: Step[]
  /** Everything behind the last step. */
  tail: string
}

const isStep = (line: string) => /^\s*\[\[\s*operators\s*\]\]/.test(line)
const isOtherTable = (line: string) => /^\s*\[/.test(line) && !/^\s*\[\[?\s*operators\b/.test(line)

export function split(text: string): RecipeText {
  const lines = text.split('\n')
  const first = lines.findIndex(isStep)
  if (first < 0) return { head: text.trimEnd(), steps: [], tail: '' }
  const rest = lines.slice(first)
  const behind = rest.findIndex(isOtherTable)
  const inner = behind < 0 ? rest : rest.slice(0, behind)
  const blocks: string[][] = []
  for (const line of inner) {
    if (isStep(line)) blocks.push([])
    blocks.at(-1)?.push(line)
  }
  const steps = blocks.map((block) => {
    const text = block.join('\n').trimEnd()
    return { op: /^\s*op\s*=\s*["']([^"']*)["']/m.exec(text)?.[1] ?? '', text }
  })
  return {
    head: lines.slice(0, first).join('\n').trimEnd(),
    steps,
    tail: behind < 0 ? '' : rest.slice(behind).join('\n').trimEnd(),
  }
}

export function join({ head, steps, tail }: RecipeText): string {
  const parts = [head, ...steps.map((step) => step.text), tail].filter((part) => part !== '')
  return parts.length === 0 ? '' : parts.join('\n\n') + '\n'
}

export function moved(text: string, from: number, to: number): string {
  const parts = split(text)
  const [step] = parts.steps.splice(from, 1)
  if (!step) return text
  parts.steps.splice(Math.max(0, Math.min(to, parts.steps.length)), 0, step)
  return join(parts)
}

export function without(text: string, at: number): string {
  const parts = split(text)
  parts.steps.splice(at, 1)
  return join(parts)
}

export function withStep(text: string, op: string): string {
  const parts = split(text)
  parts.steps.push({ op, text: `[[operators]]\nop = ${JSON.stringify(op)}` })
  return join(parts)
}
