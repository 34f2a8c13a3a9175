# SPDX-License-Identifier: Apache-2.0
"""Lines that tokenizers find hard: many scripts, emoji, combining marks, odd spaces, bytes that were no UTF-8."""
import random

WORDS = {
    "latin": "the quick brown fox jumps over lazy dogs and cafés naïve Übergröße It's we've THEY'RE l'été smørrebrød".split(),
    "cyrillic": "съешь же ещё этих мягких французских булок да выпей чаю Привет мир".split(),
    "greek": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία Ελληνικά ΟΔΟΣ".split(),
    "arabic": "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ومغلف بجلد أزرق".split(),
    "hebrew": "דג סקרן שט בים מאוכזב ולפתע מצא חברה שָׁלוֹם".split(),
    "devanagari": "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश".split(),
    "thai": ["เป็นมนุษย์สุดประเสริฐเลิศคุณค่า", "กว่าบรรดาฝูงสัตว์เดรัจฉาน"],
    "chinese": ["天地玄黃", "宇宙洪荒", "我能吞下玻璃而不伤身体", "，。！？「」"],
    "japanese": ["いろはにほへと", "ちりぬるを", "カタカナ", "東京タワー", "ｶﾀｶﾅ", "がぎぐ"],
    "korean": ["키스의", "고유조건은", "입술끼리", "만나야", "한국어"],
    "tamil": ["யாமறிந்த", "மொழிகளிலே", "தமிழ்"],
    "code": ["def f(x):", "return x**2", "{'a': [1, 2]}", "a->b;", "// TODO", "\\n", "x != y", "#include <vector>", "0x1F"],
    "digits": ["0", "7", "42", "1234567890", "3.14159", "1,000,000", "١٢٣", "①②", "½", "2024-02-30", "１２"],
    "emoji": ["😀", "👩‍👩‍👧‍👦", "👍🏽", "🇨🇭", "❤️", "🏴‍☠️", "🤦🏾‍♂️", "©", "™", "𝔘𝔫𝔦", "🫠"],
    "marks": ["e\u0301", "Z\u0351\u036b\u0343a\u0323", "A\u030a", "\u1ea1\u0302", "ﬁ", "ǆ", "\u212b"],
}
SPACES = [" ", " ", " ", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u3000", "\u200b", "\u2028", "\u200d", "", ""]
ODD = ["\ufeff", "\x00", "\x07", "\x1b[0m", "\x7f", "\u0085", "\ufffd", "\uffff", "\U0010ffff", "\ue000", "▁", "▁▁", "Ġ", "<0x41>",
       "\u202eabc", "'s", "'S", "...", "!!!", "----", "\u2014", "\u2026", "“”"]


def broken_bytes(draw):
    """Bytes that are no UTF-8, as other programs hand them on."""
    return bytes(draw.randrange(256) for _ in range(draw.randrange(1, 12))).decode("utf-8", "replace")


def lines(count, seed=1, special=()):
    """`special`: tokens that may stand in a text."""
    draw = random.Random(seed)
    scripts = sorted(WORDS)
    made = []
    for i in range(count):
        own = [scripts[i % len(scripts)]] if i % 3 else draw.sample(scripts, 3)
        text = draw.choice(["", "", "", " ", "\n"])
        for _ in range(draw.randrange(1, 14)):
            kind = draw.random()
            if kind < 0.85:
                text += draw.choice(WORDS[draw.choice(own)])
            elif kind < 0.93:
                text += draw.choice(ODD)
            elif kind < 0.97 or not special:
                text += broken_bytes(draw)
            else:
                text += draw.choice(special)
            text += draw.choice(SPACES)
        made.append(text or "-")
    return made
