//! Tokenizer files, chat templates, special tokens and loss masks.
