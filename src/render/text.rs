//! Text from logs made safe to look at. Changes nothing that is stored or counted.

use std::{borrow::Cow, fmt::Write};

/// `text` with everything that could act on a terminal or deceive the eye written as an escape: control characters
/// (C0, DEL, C1), line and paragraph separators, and the invisible characters that reorder or hide text (bidirectional
/// controls, zero-width characters, tags). A backslash stays: the result is for eyes and is not read back.
///
/// ```
/// use logtally::render::text::escape_terminal;
/// assert_eq!(escape_terminal("caf\u{e9}"), "caf\u{e9}");
/// assert_eq!(escape_terminal("\u{1b}[2J\n\u{202e}"), r"\x1b[2J\n\u{202e}");
/// ```
#[must_use]
pub fn escape_terminal(text: &str) -> Cow<'_, str> {
    escape_where(text, is_unsafe)
}

/// As [`escape_terminal`], but line ends and tabs stay as they are: for formats that quote them.
pub(super) fn escape_but_blanks(text: &str) -> Cow<'_, str> {
    escape_where(text, |character| is_unsafe(character) && !matches!(character, '\n' | '\r' | '\t'))
}

/// Whether a terminal would act on `character` or an eye would miss it.
pub(super) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            u32::from(character),
            0x00ad                      // soft hyphen
                | 0x061c                // Arabic letter mark
                | 0x200b..=0x200f       // zero width, directional marks
                | 0x2028..=0x202e       // separators, bidirectional embeddings
                | 0x2060..=0x206f       // word joiner, isolates, deprecated controls
                | 0xfeff                // byte order mark
                | 0xfff9..=0xfffb       // interlinear annotation
                | 0xe_0000..=0xe_007f   // tags
        )
}

fn escape_where(text: &str, escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(&escaped) else {
        return Cow::Borrowed(text);
    };
    let (safe, rest) = text.split_at(first);
    let mut result = String::with_capacity(text.len() + 16);
    result.push_str(safe);
    for character in rest.chars() {
        if escaped(character) {
            push_escape(&mut result, character);
        } else {
            result.push(character);
        }
    }
    Cow::Owned(result)
}

fn push_escape(result: &mut String, character: char) {
    let code = u32::from(character);
    let written = match character {
        '\n' => result.write_str("\\n"),
        '\r' => result.write_str("\\r"),
        '\t' => result.write_str("\\t"),
        _ if code < 0x100 => write!(result, "\\x{code:02x}"),
        _ => write!(result, "\\u{{{code:x}}}"),
    };
    debug_assert!(written.is_ok(), "a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_gets_through() {
        for code in (0..=0xff).chain(0x2000..0x2100).chain(0xe_0000..0xe_0100) {
            let character = char::from_u32(code).unwrap();
            let shown = escape_terminal(&character.to_string()).into_owned();
            assert!(!shown.chars().any(is_unsafe), "{code:x} became {shown:?}");
            assert!(!shown.chars().any(char::is_control), "{code:x} became {shown:?}");
        }
    }

    #[test]
    fn readable_text_is_borrowed_and_unchanged() {
        for text in ["", "a b", r"C:\logs", "日本語", "e\u{301}", "\u{1f980}"] {
            assert!(matches!(escape_terminal(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn formats_that_quote_keep_line_ends_and_tabs() {
        assert_eq!(escape_but_blanks("a\r\n\tb\u{7}"), "a\r\n\tb\\x07");
    }
}
