// Generated from the types of src-tauri by its test `bindings`; do not edit.

export type ShellError = { 
/**
 * Stable code.
 */
code: string, 
/**
 * What happened, in a sentence.
 */
message: string, 
/**
 * Causes, outermost first.
 */
causes: Array<string>, 
/**
 * What to do about it.
 */
hint: string | null, };

export type Theme = "system" | "light" | "dark" | "contrast";

export type Language = "en" | "zh";

export type Settings = { 
/**
 * `system`, `light`, `dark` or `contrast`.
 */
theme: Theme, 
/**
 * `en` or `zh`.
 */
language: Language, 
/**
 * Size of text in pixels.
 */
text_px: number, 
/**
 * Whether everything that is started is kept off the network.
 */
offline: boolean, 
/**
 * Whether runs that the window starts hold their riskiest decisions for a person.
 */
review: boolean, 
/**
 * Percent of the decisions of a stage that pass without a person, where it is not the usual one.
 */
autonomy: Record<string, number>, 
/**
 * Workspaces, the newest first.
 */
recent: string[], };

export type WorkspaceCard = { 
/**
 * Its folder.
 */
path: string, 
/**
 * Last part of its path.
 */
name: string, 
/**
 * Task of its newest run.
 */
task: string | null, 
/**
 * `running`, `finished`, `failed`, `interrupted`, `empty`, or `unreadable`.
 */
status: string, 
/**
 * Runs in it.
 */
runs: number, };

export type ExampleTask = { 
/**
 * The name that `trex run` takes.
 */
name: string, 
/**
 * A short title.
 */
title: string, 
/**
 * The requirement in plain words.
 */
goal: string, };

export type HomeView = { 
/**
 * Workspaces that were open before, the newest first.
 */
workspaces: Array<WorkspaceCard>, 
/**
 * Built-in tasks that need no download.
 */
tasks: Array<ExampleTask>, 
/**
 * Where new workspaces go.
 */
folder: string, 
/**
 * Version of this window.
 */
version: string, 
/**
 * Why no work can be done, where that is so.
 */
problem: ShellError | null, };

export type StartRequest = { 
/**
 * Folder of the workspace.
 */
workspace: string, 
/**
 * Name of a built-in task, or a task file.
 */
task: string, 
/**
 * Seed of everything random.
 */
seed: number, 
/**
 * Base model instead of the task's.
 */
model: string | null, 
/**
 * Most trials instead of the task's.
 */
trials: number | null, 
/**
 * Begin anew although an unfinished run is there.
 */
new: boolean, };

export type DroppedKind = "workspace" | "model" | "adapter" | "task" | "recipe" | "document" | "bundle" | "data";

export type Dropped = { 
/**
 * The absolute path.
 */
path: string, 
/**
 * Its last part.
 */
name: string, 
/**
 * What it is.
 */
kind: DroppedKind, 
/**
 * Size of a file.
 */
bytes: number | null, };

export type NodeKind = "base" | "strategy" | "experiment" | "variant";

export type NodeState = "proposed" | "verified" | "rejected" | "cached" | "running" | "interrupted" | "evaluated" | "promoted" | "pruned" | "failed";

export type ShownScore = { 
/**
 * The split that the items come from.
 */
split: string, 
/**
 * The value.
 */
value: number, 
/**
 * Lower end of the 95 % interval.
 */
low: number, 
/**
 * Upper end of the 95 % interval.
 */
high: number, 
/**
 * Number of items.
 */
n: number, };

export type TreeNode = { 
/**
 * The name that `trex tree` uses.
 */
id: string, 
/**
 * Name of the parent; absent for the base.
 */
parent: string | null, 
/**
 * Level.
 */
kind: NodeKind, 
/**
 * State.
 */
state: NodeState, 
/**
 * In few words.
 */
title: string, 
/**
 * What the strategy above it works on.
 */
strategy: string | null, 
/**
 * Its best score: on the select split where there is one, else on search.
 */
score: ShownScore | null, 
/**
 * Its score minus that of the base on the same split, turned so that more is better.
 */
gain: number | null, 
/**
 * Processor or card seconds that it and everything below it cost.
 */
cost_s: number, 
/**
 * Whether it lies on the way from the base to the best variant.
 */
on_best_path: boolean, 
/**
 * Whether it is the best so far.
 */
is_best: boolean, 
/**
 * Training loss over time, at most 24 points.
 */
spark: Array<number>, 
/**
 * Why it was rejected, pruned or failed.
 */
note: string | null, 
/**
 * Whether a person pinned it.
 */
pinned: boolean, 
/**
 * What a person forbade, where that is this node or lies above it.
 */
forbidden_by: string | null, };

export type TreeView = { 
/**
 * The metric of all scores.
 */
metric: string, 
/**
 * The nodes, parents before children, siblings in order of creation.
 */
nodes: Array<TreeNode>, };

export type NetKind = "paper" | "parameter" | "operator" | "insight" | "task" | "dataset" | "model";

export type NetNode = { 
/**
 * Its name, such as `operator:exact_dedup`.
 */
id: string, 
/**
 * What it stands for.
 */
kind: NetKind, 
/**
 * In words.
 */
label: string, };

export type NetEffect = { 
/**
 * The difference.
 */
diff: number, 
/**
 * Its 95 % interval.
 */
ci95: [number, number], 
/**
 * Number of items.
 */
n: number, };

export type NetEdge = { 
/**
 * Where it begins.
 */
from: string, 
/**
 * Where it ends.
 */
to: string, 
/**
 * `improves`, `hurts`, `undecided`, `similar-to`, `evidence-for`, `has` or `mentions`.
 */
kind: string, 
/**
 * The effect, where one was measured.
 */
effect: NetEffect | null, 
/**
 * Similarity of two tasks, or passages that mention something.
 */
weight: number | null, };

export type NetView = { 
/**
 * The things.
 */
nodes: Array<NetNode>, 
/**
 * What joins them.
 */
edges: Array<NetEdge>, };

export type BudgetView = { 
/**
 * Trials that were started.
 */
trials: number, 
/**
 * Trials that may be started.
 */
max_trials: number, 
/**
 * Wall seconds at work.
 */
wall_s: number, 
/**
 * Wall seconds that may be spent.
 */
max_wall_s: number | null, 
/**
 * Processor seconds.
 */
cpu_s: number, };

export type DecisionView = { 
/**
 * The chosen node.
 */
node: string, 
/**
 * In a sentence.
 */
because: string, 
/**
 * What it was chosen from: node, visits, value, prior, rank.
 */
candidates: Array<[string, number, number, number, number]>, };

export type TimelinePoint = { 
/**
 * Processor or card seconds up to and with it.
 */
cost_s: number, 
/**
 * Its score.
 */
value: number, 
/**
 * Lower end of its interval.
 */
low: number, 
/**
 * Upper end of its interval.
 */
high: number, 
/**
 * The best value so far.
 */
best: number, 
/**
 * Name of the variant, or `base`.
 */
id: string, };

export type FailureView = { 
/**
 * Stable code.
 */
code: string, 
/**
 * What happened.
 */
message: string, 
/**
 * What to do.
 */
hint: string | null, };

export type RunView = { 
/**
 * Id of the run.
 */
run: string, 
/**
 * Number of the last event in it.
 */
seq: number, 
/**
 * Name of the task.
 */
task: string, 
/**
 * The requirement in plain words.
 */
goal: string, 
/**
 * Base model.
 */
model: string, 
/**
 * Metric.
 */
metric: string, 
/**
 * Seed.
 */
seed: number, 
/**
 * `running`, `finished`, `failed` or `interrupted`.
 */
status: string, 
/**
 * Part of the run.
 */
phase: string, 
/**
 * When the run began, in milliseconds since 1970.
 */
started_ms: number, 
/**
 * What is used of the budget.
 */
budget: BudgetView, 
/**
 * The base on select, or on the sealed split once that is open.
 */
base: ShownScore | null, 
/**
 * The best so far, on the same split.
 */
best: ShownScore | null, 
/**
 * Name of the best variant; absent where the base is best.
 */
incumbent: string | null, 
/**
 * Verdict, once the run ended.
 */
verdict: string | null, 
/**
 * Paired difference on the sealed split, with its interval.
 */
gain: [number, number, number] | null, 
/**
 * Items of that comparison.
 */
gain_n: number | null, 
/**
 * The policy's last choice.
 */
decision: DecisionView | null, 
/**
 * Why the best is called best although another looks higher, or the other way round.
 */
why_best: string | null, 
/**
 * Select scores in the order in which they were paid for.
 */
timeline: Array<TimelinePoint>, 
/**
 * How often it was resumed.
 */
resumed: number, 
/**
 * The error that ended it.
 */
failure: FailureView | null, 
/**
 * What was learned.
 */
insights: Array<string>, 
/**
 * Notes.
 */
warnings: Array<string>, 
/**
 * Decisions that wait for a person.
 */
waits: number, 
/**
 * The tree.
 */
tree: TreeView, };

export type Progress = { 
/**
 * Which job.
 */
what: string, 
/**
 * Part of the job.
 */
phase: string, 
/**
 * Units done.
 */
done: number, 
/**
 * Units altogether.
 */
total: number, 
/**
 * Units per second.
 */
rate: number, 
/**
 * Tokens per second.
 */
tokens_per_s: number | null, 
/**
 * Largest resident memory of the worker.
 */
peak_rss_bytes: number | null, 
/**
 * Smoothed training loss.
 */
loss_ema: number | null, 
/**
 * The hottest place of processor or card in degrees Celsius, where it can be read.
 */
temperature_c: number | null, 
/**
 * Power of the processor in watts, where it can be read.
 */
power_w: number | null, };

export type Update = { "type": "run", 
/**
 * The state.
 */
run: RunView, } | { "type": "progress", 
/**
 * The numbers.
 */
progress: Progress, } | { "type": "no_run" } | { "type": "problem", 
/**
 * The error.
 */
error: ShellError, };

export type LogLine = { 
/**
 * Number of the event.
 */
seq: number, 
/**
 * When, in milliseconds since 1970.
 */
at_ms: number, 
/**
 * Kind of the event.
 */
kind: string, 
/**
 * The node that it is about.
 */
node: string | null, 
/**
 * The event as it is stored.
 */
body: string, };

export type Word = { "type": "approve" } | { "type": "edit", 
/**
 * Setting and new value as JSON.
 */
changes: Array<[string, string]>, } | { "type": "reject" };

export type Wish = { "type": "pin" } | { "type": "unpin" } | { "type": "forbid", 
/**
 * Why; empty where nothing is said.
 */
reason: string, } | { "type": "allow" } | { "type": "branch", 
/**
 * Setting and new value as JSON.
 */
changes: Array<[string, string]>, 
/**
 * Why; empty where nothing is said.
 */
reason: string, };

export type QueueWish = { "type": "hold", 
/**
 * Its number.
 */
id: number, } | { "type": "release", 
/**
 * Its number.
 */
id: number, } | { "type": "remove", 
/**
 * Its number.
 */
id: number, } | { "type": "priority", 
/**
 * Its number.
 */
id: number, 
/**
 * Higher goes first.
 */
priority: number, } | { "type": "move", 
/**
 * Its number.
 */
id: number, 
/**
 * The other one's.
 */
before: number | null, } | { "type": "clear" };

export type ScoreRow = { 
/**
 * Folder of its workspace.
 */
workspace: string, 
/**
 * Its id.
 */
run: string, 
/**
 * Name of its task.
 */
task: string, 
/**
 * Base model.
 */
model: string, 
/**
 * Metric.
 */
metric: string, 
/**
 * Seed.
 */
seed: number, 
/**
 * `running`, `finished`, `failed` or `interrupted`.
 */
status: string, 
/**
 * When it began, in milliseconds since 1970.
 */
started_ms: number, 
/**
 * The untouched base.
 */
base: ShownScore | null, 
/**
 * The best model, on the same split.
 */
best: ShownScore | null, 
/**
 * Paired difference on the sealed split, with its interval.
 */
gain: [number, number, number] | null, 
/**
 * Items of that comparison.
 */
gain_n: number | null, 
/**
 * Verdict, once the run ended.
 */
verdict: string | null, 
/**
 * Trials that were started.
 */
trials: number, 
/**
 * Wall seconds at work.
 */
wall_s: number, 
/**
 * Processor seconds.
 */
cpu_s: number, };

export type BenchTable = { 
/**
 * What was measured.
 */
name: string, 
/**
 * On which machine.
 */
machine: string, 
/**
 * What and how much.
 */
rows: Array<[string, string]>, };
