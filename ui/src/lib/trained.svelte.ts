// Which nodes of the open run have trained weights, the best one first by the name that `trex` has for it.
import { live } from './state.svelte'

/** Names of nodes that can be asked, scored, served and exported. */
export function trainedNodes(): string[] {
  const trained = (live.run?.tree.nodes ?? []).filter((one) => one.kind === 'variant' && one.spark.length > 0)
  return [...(live.run?.incumbent ? ['best'] : []), ...trained.map((one) => one.id)]
}

/** How a node is shown. */
export const shownNode = (id: string, best: string) => (id === 'best' ? `${best} (${live.run?.incumbent ?? ''})` : id)
