//! Chat templates of real models render as Python's Jinja renders them.

mod common;

use std::collections::BTreeMap;

use forebay_infer::chat::{ChatTemplate, Message};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Model(Model),
    Peer(String),
}

#[derive(Deserialize)]
struct Model {
    template: String,
    conversations: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    name: String,
    messages: Vec<Message>,
    text: String,
    text_without_generation_prompt: String,
}

#[test]
fn rendered_conversations_equal_jinjas() {
    let golden: BTreeMap<String, Entry> = serde_json::from_value(common::golden("chat.json")).unwrap();
    let mut rendered = 0;
    for (name, entry) in golden {
        let model = match entry {
            Entry::Model(model) => model,
            Entry::Peer(peer) => {
                assert!(peer.starts_with("jinja2"), "{name}: {peer}");
                continue;
            }
        };
        // The templates of these models do not write the tokens that begin and end a text.
        assert!(!model.template.contains("bos_token") && !model.template.contains("eos_token"));
        let template = ChatTemplate::new(&model.template, "", "").unwrap();
        for conversation in model.conversations {
            let about = format!("{name}, {}", conversation.name);
            assert_eq!(template.render(&conversation.messages, true).unwrap(), conversation.text, "{about}");
            let without = template.render(&conversation.messages, false).unwrap();
            assert_eq!(without, conversation.text_without_generation_prompt, "{about}");
            rendered += 1;
        }
    }
    assert!(rendered > 0);
}
