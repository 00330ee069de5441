//! SmolLM2-135M-Instruct, where the machine has it: a folder with its converted files in `TREX_SMOLLM2_GGUF_DIR`.

use std::path::PathBuf;

use trex_chat::ChatModel;
use trex_domain::Message;

#[test]
fn smollm2_is_as_published() {
    let Some(folder) = std::env::var_os("TREX_SMOLLM2_GGUF_DIR").map(PathBuf::from) else {
        println!("skipped: TREX_SMOLLM2_GGUF_DIR is not set");
        return;
    };
    let model = ChatModel::load(&folder).unwrap();
    assert_eq!(model.vocab_size(), 49_152);
    assert_eq!((model.bos_id(), model.eos_ids(), model.pad_id()), (Some(1), &[2][..], Some(2)));
    let encoded = model.encode_example(&[Message::user("2+2?")], "4", 100).unwrap();
    let prompt = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
                  <|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(model.decode_with_special(&encoded.prompt).unwrap(), prompt);
    assert_eq!(model.decode_with_special(&encoded.completion).unwrap(), "4<|im_end|>");
}
