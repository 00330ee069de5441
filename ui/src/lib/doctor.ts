// What `trex doctor` found, in the language of the page: by the name of what was found, with its values filled in. What has no
// name, such as an error, stays in English.
import { t } from './i18n.svelte'

/** One finding, as the doctor's schema describes it. */
export interface Finding {
  what: string
  ok: boolean
  detail: string
  hint?: string
  situation?: string
  values?: Record<string, string>
}

/** Keys of the translations; their English is the program's own. */
export const subjectKey = (what: string) => `doctor.${what}`
export const detailKey = (situation: string) => `doctor.${situation}.detail`
export const hintKey = (situation: string) => `doctor.${situation}.hint`

function translated(key: string, english: string, values: Record<string, string> = {}): string {
  const found = t(key, values)
  return found === key ? english : found
}

export const subject = (finding: Finding) => translated(subjectKey(finding.what), finding.what)

export const detail = (finding: Finding) =>
  finding.situation ? translated(detailKey(finding.situation), finding.detail, finding.values) : finding.detail

export function hint(finding: Finding): string | null {
  if (!finding.hint) return null
  return finding.situation ? translated(hintKey(finding.situation), finding.hint, finding.values) : finding.hint
}
