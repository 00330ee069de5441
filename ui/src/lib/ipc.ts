// The one place where the page talks to Rust. One function per command, over the generated types.
import { Channel, invoke } from '@tauri-apps/api/core'
import { listen, type UnlistenFn } from '@tauri-apps/api/event'
import { open, save } from '@tauri-apps/plugin-dialog'
import type {
  BenchTable,
  Dropped,
  HomeView,
  LogLine,
  QueueWish,
  RunView,
  ScoreRow,
  Settings,
  ShellError,
  StartRequest,
  Update,
  Wish,
  Word,
} from './bindings'

/** A JSON document of the `trex` program, whose form its own schemas describe. */
export type Json = Record<string, any>

/** One attempt to reach the network, as `trex net log` lists it. */
export interface NetAttempt {
  at?: number
  url: string
  what: string
  refused?: string
}

export const getSettings = () => invoke<Settings>('settings')
export const setSettings = (settings: Settings) => invoke<Settings>('set_settings', { settings })
export const home = () => invoke<HomeView>('home')
export const identify = (path: string) => invoke<Dropped>('identify_path', { path })
export const runAt = (workspace: string, seq: number) => invoke<RunView>('run_at', { workspace, seq })
export const runLog = (workspace: string, after: number) => invoke<LogLine[]>('run_log', { workspace, after })
export const runWords = (workspace: string, after: number) => invoke<string>('run_words', { workspace, after })
export const showNode = (workspace: string, id: string) => invoke<Json>('show_node', { workspace, id })
export const startRun = (request: StartRequest) => invoke<void>('start_run', { request })
export const resumeRun = (workspace: string) => invoke<void>('resume_run', { workspace })
export const stopRun = (workspace: string) => invoke<Json>('stop_run', { workspace })
export const quit = (stopRun: boolean) => invoke<void>('quit', { stopRun })
export const doctor = () => invoke<Json>('doctor')
export const reportPage = (workspace: string) => invoke<string>('report_page', { workspace })
export const profileData = (path: string, model: string) => invoke<Json>('profile_data', { path, model })
export const dataRows = (path: string, page: number, rows: number, filter: string) =>
  invoke<Json>('data_rows', { path, page, rows, filter })
export const rowsAsTrained = (path: string, skip: number, rows: number, model: string) =>
  invoke<Json>('rows_as_trained', { path, skip, rows, model })
export const quarantine = (path: string, limit: number) => invoke<Json>('quarantine', { path, limit })
export const recipeOperators = () => invoke<Json>('recipe_operators')
export const recipeCheck = (path: string, text: string) => invoke<Json>('recipe_check', { path, text })
export const recipeLoad = (path: string) => invoke<string>('recipe_load', { path })
export const recipeSave = (path: string, text: string) => invoke<void>('recipe_save', { path, text })
export const recipeRun = (path: string, workspace: string, model: string) =>
  invoke<Json>('recipe_run', { path, workspace, model })
export const recipeHistory = (path: string, workspace: string) => invoke<Json>('recipe_history', { path, workspace })
export const models = () => invoke<Json>('models')
export const modelsFound = () => invoke<Json>('models_found')
export const addModel = (source: string, name: string) => invoke<Json>('add_model', { source, name })
export const exportNode = (workspace: string, id: string, format: string, out: string) =>
  invoke<Json>('export_node', { workspace, id, format, out })
export const reproduceNode = (workspace: string, id: string) => invoke<Json>('reproduce_node', { workspace, id })

export const draftTask = (words: string, data: string[], answers: [string, string][]) =>
  invoke<Json>('draft_task', { words, data, answers })
export const forecastTask = (path: string | null, text: string, workspace: string, seed: number) =>
  invoke<Json>('forecast_task', { path, text, workspace, seed })
export const whyNode = (workspace: string, id: string) => invoke<string>('why_node', { workspace, id })
export const diagnoseNode = (workspace: string, id: string) => invoke<string>('diagnose_node', { workspace, id })
export const opened = () => invoke<string | null>('opened')
export const hideWindow = () => invoke<void>('hide_window')
export const logBundle = (workspace: string | null, out: string) => invoke<void>('log_bundle', { workspace, out })
export const outbound = (workspace: string) => invoke<Json>('outbound', { workspace })
export const netLog = (last: number) => invoke<NetAttempt[]>('net_log', { last })
export const kbList = () => invoke<Json>('kb_list')
export const kbSearch = (question: string, limit: number) => invoke<Json>('kb_search', { question, limit })
export const kbShow = (id: string) => invoke<Json>('kb_show', { id })
export const kbAdd = (paths: string[]) => invoke<Json>('kb_add', { paths })
export const kbRemove = (id: string) => invoke<Json>('kb_remove', { id })
export const kbGraph = (from: string | null, depth: number) => invoke<Json>('kb_graph', { from, depth })
export const kbLearn = (workspace: string) => invoke<Json>('kb_learn', { workspace })
export const kbExportPreview = (withDocuments: boolean) => invoke<string>('kb_export_preview', { withDocuments })
export const kbExport = (file: string, withDocuments: boolean, sign: string | null) =>
  invoke<Json>('kb_export', { file, withDocuments, sign })
export const kbImportPreview = (file: string, trust: string | null) =>
  invoke<string>('kb_import_preview', { file, trust })
export const kbImport = (file: string, trust: string | null) => invoke<Json>('kb_import', { file, trust })
export const scoreboard = () => invoke<ScoreRow[]>('scoreboard')
export const benchTables = (folder: string) => invoke<BenchTable[]>('bench_tables', { folder })

/** `earlier` has the turns before, as `trex ask` keeps them. */
export const askModels = (
  workspace: string,
  id: string,
  words: string,
  system: string,
  temperature: number | null,
  earlier: Json[],
) => invoke<Json>('ask_models', { workspace, id, words, system, temperature, earlier })

/** Both models on a file of the person's own prompts. */
export const scoreOwn = (workspace: string, id: string, file: string) =>
  invoke<Json>('score_own', { workspace, id, file })

export const serveStart = (workspace: string, id: string) => invoke<Json>('serve_start', { workspace, id })
export const serveStop = () => invoke<void>('serve_stop')
export const serveStatus = () => invoke<Json | null>('serve_status')

export const reviewList = (workspace: string) => invoke<Json>('review_list', { workspace })
export const reviewShow = (workspace: string, id: string) => invoke<Json>('review_show', { workspace, id })
export const reviewDecide = (workspace: string, id: string, word: Word, reason: string) =>
  invoke<Json>('review_decide', { workspace, id, word, reason })

export const queueList = () => invoke<Json>('queue_list')
export const queueChange = (wish: QueueWish) => invoke<Json>('queue_change', { wish })
export const queueAdd = (request: StartRequest, priority: number) => invoke<Json>('queue_add', { request, priority })
export const queueWork = () => invoke<void>('queue_work')

export const giveOrder = (workspace: string, id: string, wish: Wish) => invoke<Json>('order', { workspace, id, wish })

/** Follows a workspace until another one is followed. */
export async function follow(workspace: string, onUpdate: (update: Update) => void): Promise<void> {
  const updates = new Channel<Update>()
  updates.onmessage = onUpdate
  await invoke<void>('follow_workspace', { workspace, updates })
}

export type Drag = { type: 'over'; found: Dropped[] } | { type: 'left' } | { type: 'dropped'; paths: string[] }

export const onDrag = (listener: (drag: Drag) => void): Promise<UnlistenFn> =>
  listen<Drag>('drag', (event) => listener(event.payload))
export const onCloseAsked = (listener: () => void): Promise<UnlistenFn> => listen('close-asked', () => listener())

export async function chooseFolder(title: string): Promise<string | null> {
  return (await open({ directory: true, multiple: false, title })) as string | null
}
export async function chooseFile(title: string): Promise<string | null> {
  return (await open({ directory: false, multiple: false, title })) as string | null
}
export const chooseNewFile = (title: string, defaultPath: string): Promise<string | null> =>
  save({ title, defaultPath })

/** Whatever was thrown, in the form that screens show. */
export function asError(thrown: unknown): ShellError {
  if (thrown && typeof thrown === 'object' && 'code' in thrown && 'message' in thrown) return thrown as ShellError
  return { code: 'app.page', message: String(thrown), causes: [], hint: null }
}
