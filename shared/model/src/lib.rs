//! Decoders, LoRA forward, adapters on disk, tokenizer, generation
