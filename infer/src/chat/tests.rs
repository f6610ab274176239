use super::*;

fn hello() -> [Message; 2] {
    [Message::new("system", "Be brief."), Message::new("user", " Hi <b>\n")]
}

fn render(template: &str) -> Result<String, ChatError> {
    ChatTemplate::new(template, "<s>", "</s>")?.render(&hello(), true)
}

#[test]
fn a_template_sees_the_conversation() {
    let text = render(
        "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}\
         {% if add_generation_prompt %}<|assistant|>{% endif %}",
    );
    assert_eq!(text.unwrap(), "<s><|system|>Be brief.</s><|user|>Hi <b></s><|assistant|>");
}

#[test]
fn lines_with_a_tag_only_leave_no_trace() {
    let text =
        render("{% for m in messages %}\n  {% if m.role == 'user' %}\nX{{ m.content }}\n  {% endif %}\n{% endfor %}\n");
    assert_eq!(text.unwrap(), "X Hi <b>\n\n");
}

#[test]
fn python_is_understood() {
    let text = render(
        "{% set ns = namespace(n=0) %}{% for m in messages[1:] %}{% set ns.n = ns.n + 1 %}{{ m.content.strip().split(' ')[0] }}\
         {{ m.content.startswith(' ') }}{% endfor %}{{ ns.n }}{{ messages[0].role.upper() }}{{ 'a' ~ 1 }}\
         {{ tools is defined }}{% if tools %}x{% endif %}{{ messages | length }}{{ messages[-1]['role'] }}",
    );
    assert_eq!(text.unwrap(), "HiTrue1SYSTEMa1False2user");
}

#[test]
fn json_is_what_python_writes() {
    let text = render("{{ {'a': [1, 2.5, true, none, 'é<\"\\n'], 'b': {}, 'c': []} | tojson }}");
    assert_eq!(text.unwrap(), r#"{"a": [1, 2.5, true, null, "é<\"\n"], "b": {}, "c": []}"#);
    let text = render("{{ {'a': [1], 'b': {}} | tojson(indent=2) }}");
    assert_eq!(text.unwrap(), "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
}

#[test]
fn the_date_is_there_when_it_was_given() {
    let template = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}no date{% endif %}";
    assert_eq!(render(template).unwrap(), "no date");
    let mut chat = ChatTemplate::new(template, "", "").unwrap();
    chat.set_time(1_709_210_096);
    assert_eq!(chat.render(&[], false).unwrap(), "29 Feb 2024");
}

#[test]
fn errors_name_the_line() {
    assert_eq!(
        render("a\n{% for %}").unwrap_err().to_string(),
        "the chat template is not valid in line 2: unexpected end of block, expected in"
    );
    assert_eq!(
        render("a\n\n{{ raise_exception('only one system message') }}").unwrap_err().to_string(),
        "the chat template refuses this conversation in line 3: only one system message"
    );
    let error = render("a\n{{ messages | no_such_filter }}").unwrap_err().to_string();
    assert!(error.starts_with("the chat template failed in line 2: ") && error.contains("no_such_filter"), "{error}");
    let error = render("{{ missing.attribute }}").unwrap_err().to_string();
    assert!(error.starts_with("the chat template failed in line 1: "), "{error}");
}

#[test]
fn a_base_model_has_no_template() {
    assert!(ChatError::NoTemplate.to_string().contains("the model has no chat template"));
}
