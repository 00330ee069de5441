// What all screens share: settings, the workspace that is followed, and what is known of its run. Kept in step by the
// one follower on the Rust side; nothing here is worked out that Rust does not say.
import type { Progress, RunView, Settings, ShellError } from './bindings'
import { asError, follow, getSettings, setSettings } from './ipc'

export const settings = $state<{ value: Settings }>({
  value: { theme: 'system', language: 'en', text_px: 14, offline: true, review: false, autonomy: {}, recent: [] },
})

export type ScreenName = 'home' | 'new' | 'explore' | 'recipes' | 'runs' | 'knowledge' | 'review' | 'models' | 'benchmarks' | 'settings'

/** What is shown, and what was handed from one screen to the next. */
export const ui = $state<{
  screen: ScreenName
  selected: string | null
  error: ShellError | null
  taskFile: string | null
  data: string | null
  recipe: string | null
  documents: string[]
  bundle: string | null
}>({
  screen: 'home',
  selected: null,
  error: null,
  taskFile: null,
  data: null,
  recipe: null,
  documents: [],
  bundle: null,
})

/** One point of the live curve. */
export interface LivePoint {
  step: number
  loss: number
}

export const live = $state<{
  workspace: string | null
  run: RunView | null
  noRun: boolean
  progress: Progress | null
  points: Record<string, LivePoint[]>
  atMs: number
}>({ workspace: null, run: null, noRun: false, progress: null, points: {}, atMs: 0 })

/** Shows an error to the person. */
export function fail(thrown: unknown): void {
  ui.error = asError(thrown)
}

/** Runs an act; its error is shown. */
export async function act<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (thrown) {
    fail(thrown)
    return undefined
  }
}

export async function loadSettings(): Promise<void> {
  settings.value = await getSettings()
  applyAppearance()
}

export async function changeSettings(change: Partial<Settings>): Promise<void> {
  settings.value = await setSettings({ ...settings.value, ...change })
  applyAppearance()
}

const systemDark = window.matchMedia('(prefers-color-scheme: dark)')
systemDark.addEventListener('change', () => applyAppearance())

export const appearance = $state({ dark: false })

export function applyAppearance(): void {
  const { theme, text_px, language } = settings.value
  const shown = theme === 'system' ? (systemDark.matches ? 'dark' : 'light') : theme
  document.documentElement.dataset.theme = shown
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en'
  document.documentElement.style.setProperty('--text', `${text_px}px`)
  appearance.dark = shown !== 'light'
}

/** Shows a workspace, from its first event on. */
export async function openWorkspace(workspace: string): Promise<void> {
  Object.assign(live, { workspace, run: null, noRun: false, progress: null, points: {} })
  ui.selected = null
  await follow(workspace, (update) => {
    if (live.workspace !== workspace) return
    if (update.type === 'run') {
      live.run = update.run
      live.noRun = false
      live.atMs = Date.now()
      if (update.run.status !== 'running') live.progress = null
    } else if (update.type === 'progress') {
      live.progress = update.progress
      takePoint(update.progress)
    } else if (update.type === 'no_run') {
      live.noRun = true
    } else {
      ui.error = update.error
    }
  })
}

function takePoint(progress: Progress): void {
  if (progress.loss_ema == null) return
  const points = (live.points[progress.what] ??= [])
  const last = points.at(-1)
  if (last && last.step >= progress.done) return
  points.push({ step: progress.done, loss: progress.loss_ema })
}
