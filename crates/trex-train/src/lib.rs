//! Models, LoRA, trainer, generation, checkpoints and export on candle.
