import { expect, test } from 'vitest'
import { marked } from './marked'

const shown = (text: string, question: string) => marked(text, question).map((part) => (part.hit ? `[${part.text}]` : part.text)).join('')

test.each([
  ['A Learning rate.', 'learning rate', 'A [Learning] [rate].'],
  ['rates and rate', 'rate rates', '[rates] and [rate]'],
  ['no word of it', 'of it', 'no word of it'],
  ['a.b*c', '.* ( [', 'a.b*c'],
  ['separate', 'rate', 'separate'],
  ['', 'words', ''],
])('%s for %s', (text, question, expected) => expect(shown(text, question)).toBe(expected))
