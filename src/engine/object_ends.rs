//! Where JSON objects over several lines end. Reads none of them.

use crate::engine::{count::split_line, format::MAX_OBJECT};

/// Where objects over several lines end in one text: at the line `}`. Remembers the next end, so that a text of many
/// beginnings is searched once.
#[derive(Debug, Default)]
pub(crate) struct ObjectEnds {
    /// How many bytes stand behind the next end; `None` if nobody looked.
    next: Option<NextEnd>,
}

#[derive(Clone, Copy, Debug)]
enum NextEnd {
    Before(usize),
    Nowhere,
}

impl ObjectEnds {
    /// The object at the front of `text`, a later part of the text that was asked for before, and what follows; all of
    /// `text` if no end is within [`MAX_OBJECT`] bytes.
    pub(crate) fn split<'t>(&mut self, text: &'t [u8]) -> (&'t [u8], &'t [u8]) {
        let known = self.next.filter(|next| match next {
            NextEnd::Before(behind) => *behind < text.len(),
            NextEnd::Nowhere => true,
        });
        let next = known.unwrap_or_else(|| next_end(text));
        self.next = Some(next);
        let end = match next {
            NextEnd::Before(behind) => Some(text.len() - behind).filter(|&end| end <= MAX_OBJECT),
            NextEnd::Nowhere => None,
        };
        let Some((object, behind)) = end.and_then(|end| text.split_at_checked(end)) else {
            return (text, &[]);
        };
        (object, split_line(behind).1)
    }
}

fn next_end(text: &[u8]) -> NextEnd {
    let ends = memchr::memmem::find_iter(text, b"\n}").map(|at| at + 2);
    let mut ends = ends.filter(|&end| matches!(text.get(end), None | Some(b'\n' | b'\r')));
    ends.next().map_or(NextEnd::Nowhere, |end| NextEnd::Before(text.len() - end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_end_at_the_next_end_and_within_the_bound() {
        let text = b"{\n}x\n}\n{\n{\n}\r\nrest";
        let mut ends = ObjectEnds::default();
        assert_eq!(ends.split(text), (&b"{\n}x\n}"[..], &b"{\n{\n}\r\nrest"[..]));
        for at in [7, 9] {
            assert_eq!(ends.split(&text[at..]), (&text[at..12], &b"rest"[..]), "{at}");
        }
        assert_eq!(ends.split(b"rest"), (&b"rest"[..], &b""[..]));
        let far = [b"{", &b" ".repeat(MAX_OBJECT - 2)[..], b"\n}\n{\n}"].concat();
        let mut ends = ObjectEnds::default();
        assert_eq!(ends.split(&far), (&far[..], &b""[..]), "too far");
        assert_eq!(ends.split(&far[1..]).0.len(), MAX_OBJECT);
    }
}
