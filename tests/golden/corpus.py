"""The texts behind the golden files: tokenizer strings, generation prompts, conversations.

Only data lives here; make_goldens.py turns it into JSON. Every text is valid UTF-8.
"""

_CODE_RUST = """fn main() {
    let v: Vec<u32> = (0..10).filter(|x| x % 2 == 0).collect();
    println!("{v:?} {}", v.iter().sum::<u32>());
}
"""

_CODE_PYTHON = """def fib(n):
    a, b = 0, 1
    while n > 0:
        a, b, n = b, a + b, n - 1  # step
    return a


if __name__ == "__main__":
\tprint(f"{fib(30)=}")
"""

_CODE_C = """#include <stdio.h>
int main(int argc, char **argv) {
\tfor (int i = 0; i < argc; ++i)
\t\tprintf("%s%c", argv[i], i + 1 < argc ? ' ' : '\\n');
\treturn 0x7fffffff & ~(1u << 31);
}
"""

_CODE_JS = "const f = async ({a, b = 2, ...rest}) => { await g?.(a ?? b); return `${a}-${b}`; };"

_CODE_HTML = '<!DOCTYPE html>\n<a href="/x?y=1&amp;z=2" class=\'b\'>Tom &amp; Jerry</a><!-- c -->\n'

_CODE_SQL = "SELECT t.id, COUNT(*) AS n FROM t LEFT JOIN u ON u.t_id = t.id WHERE t.x <> 'it''s' GROUP BY 1;"

# One corpus for every model. Special-token spellings of all three families are in it on purpose:
# what is special to one model is plain text to another.
TOKENIZER_TEXTS = [
    # nothing, one of something, plain prose
    "", " ", "a", "A", ".", "Hello", " Hello", "Hello world", "Hello, world!", "hello world\n",
    "The quick brown fox jumps over the lazy dog.",
    "It was the best of times, it was the worst of times; it was the age of wisdom...",
    "ALL CAPS AND camelCase and snake_case and kebab-case and PascalCase",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    # whitespace runs
    "  ", "   ", "    ", "        ", " " * 17, " " * 100, "\t", "\t\t", "\t\t\t\t", " \t \t ",
    "\n", "\n\n", "\n\n\n", "\n\n\n\n\n", "\r", "\r\n", "\r\n\r\n", "\n\r", " \n", "\n ", " \n \n ", "  \n\n  \n",
    "a b", "a  b", "a   b", "a    b", "a\tb", "a \tb", "a\t b", "a\nb", "a\n\nb", "a \n b", "a\r\nb", "a\r\n\r\n  b",
    "trailing space ", "trailing spaces   ", "trailing newline\n", "trailing mix \t\n ", "  leading spaces", "\n\nleading newlines",
    "nbsp\u00a0between", "\u00a0\u00a0", " \u00a0 ", "em\u2003space thin\u2009space", "ideographic\u3000space", "zero\u200bwidth\u200cjoin\u200d",
    "line\u2028sep\u2029par", "\ufeffbyte order mark", "soft\u00adhyphen", "next\u0085line", "a\x0bb\x0cc",
    # contractions and quotes
    "I'm you're he's we'll they'd I've can't", "I'M YOU'RE HE'S WE'LL THEY'D I'VE CAN'T", "'s't're've'm'll'd", "'S'T'RE'VE'M'LL'D",
    "' s 'll \u2019s \u2019ll", "don\u2019t \u201cquote\u201d \u2018me\u2019", "rock 'n' roll, the dogs' 's", "o'clock 'tis l'\u00e9t\u00e9",
    # numbers
    "0", "1", "12", "123", "1234", "12345", "1234567890", "3.14159265358979", "-1.5e-10 +2E+8", "1,000,000.00", "0xDEADBEEF 0b1010 0o777",
    "2024-02-29T23:59:59Z", "192.168.0.1:8080", "1/2 \u00bd \u00b2 \u2462 \u216b", "\u0661\u0662\u0663 \u0967\u0968\u0969 \uff11\uff12\uff13 \u0e51\u0e52",
    "a1b2c3 4d5e6f", "31415926535897932384626433832795028841971", "100% $5 \u20ac6 \u00a37 #8 @9",
    # punctuation and symbols
    "!!!", "...", "\u2026", "?!?!", "--- *** ===", "()[]{}<>", "a.b,c;d:e", "foo(bar)[baz]{qux}", "!@#$%^&*()_+-=`~|\\/", " .", " ,a", "\u2014\u2013\u2212",
    "\u2200x\u2208\u211d: \u221a(x\u00b2) = |x| \u2260 \u2211", "\u2190\u2191\u2192\u2193 \u2588\u2593\u2592\u2591 \u250c\u2500\u2510",
    "\u00a9\u00ae\u2122 \u00b5\u03bc \ufb01ne \ufb02y",
    # Latin with accents, composed and decomposed
    "\u00e0\u00e9\u00ee\u00f5\u00fc \u00df \u0153 \u00e6 \u00f8 \u0142 \u017c", "na\u00efve caf\u00e9 r\u00e9sum\u00e9", "nai\u0308ve cafe\u0301 re\u0301sume\u0301",
    "\u00c5ngstr\u00f6m A\u030angstro\u0308m \u212b", "Z\u0351\u036b\u0343a\u0310\u0327l\u0334g\u0321o\u0322", "Ti\u1ebfng Vi\u1ec7t c\u00f3 d\u1ea5u", "\u0130stanbul \u0131\u015f\u0131k",
    # other scripts
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0429\u0443\u043a\u0430", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5 \u1f04\u03bd\u03b8\u03c1\u03c9\u03c0\u03bf\u03c2",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u6c49\u5b57\u6df7\u5408English\u6587\u672c123", "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c\u3002\u30ab\u30bf\u30ab\u30ca\u30fc", "\uff76\uff9e\uff77\uff9e half",
    "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4", "\u1112\u1161\u11ab\u1100\u116e\u11a8", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0661\u0662\u0663", "\u0628\u0650\u0633\u0652\u0645\u0650 \u0671\u0644\u0644\u064e\u0651\u0647\u0650",
    "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f \u095b", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0c24\u0c46\u0c32\u0c41\u0c17\u0c41",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0 \u0532\u0561\u0580\u0565\u0582", "\u13e3\u13b3\u13a9 \u1d58\u1d56 \U00010400\U00010428", "\U0001d54f\U0001d4d0 \U00020000\U0002a6d6",
    # emoji
    "\U0001f600", "\U0001f600\U0001f602\U0001f923 ok", "\U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family", "\U0001f3f3\ufe0f\u200d\U0001f308",
    "\U0001f1eb\U0001f1f7\U0001f1ef\U0001f1f5", "\u2764\ufe0f \u2764 1\ufe0f\u20e3", "\U0001f9d1\U0001f3ff\u200d\U0001f680!",
    # code, markup, addresses
    _CODE_RUST, _CODE_PYTHON, _CODE_C, _CODE_JS, _CODE_HTML, _CODE_SQL, '{"k": [1, 2.5, null, true], "s": "a\\n\\u00e9"}',
    "# Title\n\n* item **bold**\n  - sub `code`\n\n```sh\n$ ls -la | wc -l\n```\n", "https://example.org/a/b?c=d&e=%20f#g", "mailto:someone+tag@example.co.uk", "C:\\Users\\me\\file.txt /usr/local/lib",
    # special tokens spelled out in text
    "<|im_start|>user\nHi<|im_end|>\n", "<|im_start|> <|im_end|>", "a<|im_end|>b", " <|im_end|> ", "<|endoftext|>", "text<|endoftext|>more", "<|im_start|", "<|im_start |>", "<|IM_START|>",
    "<bos>", "<eos>", "<pad><unk><mask>", "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n", "x <start_of_turn> y", "<unused0><unused99>", "<s></s>", "<0x0A>", "\u2581", "\u2581a \u2581\u2581b",
    "<|fim_prefix|>def f(<|fim_suffix|>):<|fim_middle|>", "<|file_sep|><|repo_name|>r", "<repo_name><filename><issue_start>", "<tool_call>\n{}\n</tool_call>", "<table><h1>x</h1><strong>\n\n\n</strong>", "<|im_start|><|im_start|>\n\n<|im_end|>",
    # control bytes
    "\x00", "a\x00b", "\x01\x02\x03", "\x1b[31mred\x1b[0m", "\x7f", "bell\x07 back\x08",
    "\u0080\u0081\u009f", "\ufffd", "\ue000 \U0010ffff", "\u0301", "\u0301\u0301a",
    # very long runs
    "a" * 300, "ab" * 150, "=" * 200, "\n" * 60, "1" * 100, "\u00e9" * 50, "\U0001f600" * 20, "\u4e2d" * 40, "ha" * 3 + " " + "no" * 30, "\t" * 33, "word " * 40, " a" * 50,
    # a bit of everything
    "Mixed: caf\u00e9 \u4f60\u597d \U0001f680 123.45  <|im_end|>\tvar_x='it''s' \u0645\u0631\u062d\u0628\u0627\r\n  - done.  ",
    "price:$1,234.56(\u20ac1.2k)\u2026ok?\u00a0yes! \u00bfqu\u00e9? \u201cna\u00efve\u201d\n\n\n\tend",
]

# Conversations to push through a chat template.
CONVERSATIONS = {
    "system+user": [
        {"role": "system", "content": "You are a patient teacher. Answer in full sentences."},
        {"role": "user", "content": "Explain, in detail, how a bicycle stays upright while it is moving."},
    ],
    "user": [
        {"role": "user", "content": "Write a long story about a lighthouse keeper who finds a message in a bottle."},
    ],
    "user+assistant+user": [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "The capital of France is Paris."},
        {"role": "user", "content": "Describe five places a visitor should see there, with a sentence or two on each."},
    ],
}

# Plain continuations, tokenized without special tokens being parsed.
COMPLETIONS = {
    "prose": "The old man walked slowly down to the harbour. It was early in the morning, and",
    "facts": "The water cycle, also known as the hydrologic cycle, describes the continuous movement of water on, above and below the surface of the Earth. Water",
    "list": "Here is a list of the planets of the solar system and their properties:\n\n1. Mercury:",
    "python": "import random\n\n\ndef quicksort(items):\n    \"\"\"Sort a list, out of place.\"\"\"\n",
    "french": "La ville de Lyon est situ\u00e9e au confluent du Rh\u00f4ne et de la Sa\u00f4ne. Elle",
    "letter": "Dear Sir or Madam,\n\nI am writing to",
}

# A prompt a bit longer than gemma3's sliding window of 512 tokens.
LONG_PROMPT = " ".join(
    f"In year {y} the village counted {17 * y % 409} houses, {31 * y % 977} sheep and {7 * y % 53} boats,"
    f" and the {('north', 'east', 'south', 'west')[y % 4]} field was sown with {('rye', 'oats', 'barley')[y % 3]}."
    for y in range(1, 17)
)
