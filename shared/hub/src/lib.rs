//! Model folders from a Hugging Face hub into the cache that Python shares.
