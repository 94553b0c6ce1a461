//! Apache lines as JSON objects: what the Amazon Kinesis Agent's LOGTOJSON makes of them. Never on the fast path.
//!
//! An object holds the fields as Apache wrote them, all texts, `null` for `-`: `host`, `ident`, `authuser`, `datetime`,
//! `request`, `response`, `bytes`, and of combined lines `referer` and `agent`. ADDMETADATA wraps it, as an object or as
//! a text, into `{"metadata":…,"data":…}`; the text may also be a plain line. The line is put together again and read
//! like any other, so that it counts the same and is malformed for the same reasons. A column then is a byte of that
//! line. What is no such object is not judged here.

use super::{
    Event, LogFormat, StampCache,
    json::{Data, Fields, Object},
    run::straight,
    step::{Client, Field, Step},
};
use crate::engine::reason::{Malformed, Reason};

/// The longest object that is looked at, in bytes: the agent's records are at most this long
/// (`KinesisConstants.MAX_RECORD_SIZE_BYTES` of the agent's source).
pub const MAX_OBJECT: usize = 1024 * 1024;

/// How objects of the agent begin.
const BEGINNINGS: [&[u8]; 3] = [b"{\"host\":", b"{\"metadata\":", b"{\"ts\":"];

impl LogFormat {
    /// As [`LogFormat::parse`], and also objects that the Amazon Kinesis Agent makes of Apache lines, of the common or
    /// the combined format whatever this one is. `memory` holds the line that an object stands for.
    ///
    /// # Errors
    /// If the line is neither; says why, and at which byte of the line, or of that which an object stands for.
    pub fn parse_or_object<'l>(
        &self,
        line: &'l [u8],
        memory: &'l mut Vec<u8>,
        stamps: &mut StampCache,
    ) -> Result<Event<'l>, Malformed> {
        match self.parse(line, stamps) {
            Err(refused) if line.first() == Some(&b'{') => {
                self.parse_object(line, memory, stamps).unwrap_or(Err(refused))
            }
            plain => plain,
        }
    }

    /// What an object of the agent stands for; `None` if `text` is no such object.
    pub(crate) fn parse_object<'l>(
        &self,
        text: &[u8],
        memory: &'l mut Vec<u8>,
        stamps: &mut StampCache,
    ) -> Option<Result<Event<'l>, Malformed>> {
        if text.len() > MAX_OBJECT {
            return None;
        }
        let object = match read(text)? {
            Ok(object) => object,
            Err(malformed) => return Some(Err(malformed)),
        };
        match object.data {
            None => self.parse_fields(&object.fields, memory, stamps),
            Some(Data::Fields(fields)) => self.parse_fields(&fields, memory, stamps),
            Some(Data::Text(text)) if text.starts_with('{') => match read(text.as_bytes())? {
                Ok(Object { fields, data: None }) => self.parse_fields(&fields, memory, stamps),
                Ok(_) => None,
                Err(malformed) => Some(Err(malformed)),
            },
            Some(Data::Text(text)) => {
                memory.clear();
                memory.extend_from_slice(text.strip_suffix('\n').unwrap_or(&text).as_bytes());
                Some(self.parse(memory, stamps))
            }
        }
    }

    fn parse_fields<'l>(
        &self,
        fields: &Fields<'_>,
        memory: &'l mut Vec<u8>,
        stamps: &mut StampCache,
    ) -> Option<Result<Event<'l>, Malformed>> {
        let agents = fields.put_together(memory)?;
        if self.client_is_header() {
            // The object does not hold the header: as a line without it, it does not say who called.
            return Some(Err(Malformed { reason: Reason::Host, column: 1 }));
        }
        let event = straight(memory, agents, stamps);
        Some(event.and_then(|event| match fields.first_that_differs(&event) {
            // A text held what ends it: read like this it would give away its neighbours.
            Some(reason) => Err(Malformed { reason, column: 1 }),
            None => Ok(event),
        }))
    }

    fn client_is_header(&self) -> bool {
        let is_header = |step: &Step| step.client && matches!(step.field, Field::Text { .. });
        self.program.client == Client::Marked && self.program.steps.iter().any(is_header)
    }
}

/// The object that is all of `text`; `None` if it is none, or no object of the agent.
fn read(text: &[u8]) -> Option<Result<Object<'_>, Malformed>> {
    let text_begins = |beginning: &&[u8]| text.starts_with(beginning) || beginning.starts_with(text);
    let mut objects = serde_json::Deserializer::from_slice(text).into_iter::<Object<'_>>();
    match objects.next()? {
        Ok(object) => {
            let end = objects.byte_offset();
            let behind = text.get(end..).unwrap_or_default().trim_ascii();
            if behind.is_empty() {
                return Some(Ok(object));
            }
            let reason = if behind.starts_with(b"{") { Reason::Torn } else { Reason::Trailing };
            object.is_of_agent().then_some(Err(Malformed { reason, column: end + 1 }))
        }
        Err(error) if error.is_eof() && BEGINNINGS.iter().any(text_begins) => {
            Some(Err(Malformed { reason: Reason::Truncated, column: text.len() + 1 }))
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        r#"10.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a?b=\"c\" HTTP/1.0" 200 2326 "" "M\xc3""#;
    const OBJECT: &str = r#"{"host":"10.0.0.1","ident":null,"authuser":"frank","datetime":"10/Oct/2000:13:55:36 -0700","request":"GET /a?b=\\\"c\\\" HTTP/1.0","response":"200","bytes":"2326","referer":"","agent":"M\\xc3"}"#;

    fn combined() -> LogFormat {
        LogFormat::named("combined").unwrap()
    }

    /// What is read, or why nothing is.
    fn said(format: &LogFormat, line: &str) -> String {
        let (mut memory, mut stamps) = (Vec::new(), StampCache::default());
        match format.parse_or_object(line.as_bytes(), &mut memory, &mut stamps) {
            Ok(event) => format!("{event:?}"),
            Err(malformed) => malformed.to_string(),
        }
    }

    #[test]
    fn an_object_is_the_line_it_was_made_of() {
        let line = said(&combined(), LINE);
        assert!(line.starts_with("Event {"), "{line}");
        let pretty: serde_json::Value = serde_json::from_str(OBJECT).unwrap();
        let text = |value: &str| serde_json::to_string(value).unwrap();
        for object in [
            OBJECT.to_owned(),
            OBJECT.replace(',', " ,\t"),
            format!("{OBJECT}\r"),
            serde_json::to_string_pretty(&pretty).unwrap(),
            OBJECT.replace('}', r#","more":[{"x":1}]}"#),
            format!(r#"{{"metadata":{{"a":[1]}},"data":{OBJECT}}}"#),
            format!(r#"{{"ts":"2026-11-21T04:35:00.000Z","metadata":null,"data":{}}}"#, text(OBJECT)),
            format!(r#"{{"metadata":{{}},"data":{}}}"#, text(LINE)),
        ] {
            assert_eq!(said(&combined(), &object), line, "{object}");
        }
        let common = LINE.split_once(" \"\"").unwrap().0;
        let object = OBJECT.replace(r#","referer":"","agent":"M\\xc3""#, "");
        assert_eq!(said(&combined(), &object), said(&LogFormat::named("common").unwrap(), common));
    }

    #[test]
    fn what_is_wrong_in_a_line_is_wrong_in_its_object() {
        for (from, to, reason) in [
            ("10.0.0.1", "10.0.0.256", "host"),
            ("10.0.0.1", "10.0.0.1 10.0.0.2", "torn"),
            ("null", "\"\"", "literal"),
            ("frank", "", "ok"),
            ("frank", "x y", "ok"),
            ("frank", "- -", "torn"),
            ("10/Oct", "32/Oct", "time"),
            ("-0700", "-0700] [", "literal"),
            ("\"200\"", "\"20\"", "response"),
            ("\"2326\"", "null", "ok"),
            ("2326", "23 26", "number"),
            ("2326", "99999999999999999999", "number"),
            ("M", r#"a\" 1"#, "trailing"),
            ("GET", r"\u0000GET", "binary"),
            ("GET", r"\nGET", "binary"),
            ("\"M", "\"[10/Oct/2000:13:55:36 -0700]", "ok"),
        ] {
            let said = said(&combined(), &OBJECT.replacen(from, to, 1));
            let said = if said.starts_with("Event {") { "ok" } else { said.split(' ').next().unwrap() };
            assert_eq!(said, reason, "{from} → {to}");
        }
    }

    #[test]
    fn a_text_never_gives_away_its_neighbours() {
        let forged = r#"x\" 404 7 \"-\" \"y"#;
        let object = OBJECT.replacen(r#"\\\"c\\\" HTTP/1.0"#, forged, 1);
        assert_eq!(said(&combined(), &object), "trailing at byte 73");
        let object = OBJECT.replacen("\"agent\":\"M\\\\xc3\"", "\"agent\":\"a\"", 1);
        assert!(said(&combined(), &object).starts_with("Event {"));
        let object = object.replacen("\"referer\":\"\"", r#""referer":"a\" \"b""#, 1);
        assert_eq!(said(&combined(), &object), "trailing at byte 89");
    }

    #[test]
    fn torn_objects_are_told_and_others_left_to_the_format() {
        let cut = &OBJECT[..OBJECT.len() / 2];
        assert_eq!(said(&combined(), cut), format!("truncated at byte {}", cut.len() + 1));
        assert_eq!(
            said(&combined(), &format!("{OBJECT}{OBJECT}")),
            format!("torn at byte {}", OBJECT.len() + 1)
        );
        assert_eq!(
            said(&combined(), &format!("{OBJECT} x")),
            format!("trailing at byte {}", OBJECT.len() + 1)
        );
        for other in [
            "{\"host\":\"10.0.0.1\"}",
            "{}",
            "{x",
            "{\"a\":1}",
            r#"{"data":"x"}"#.trim_end_matches('}'),
            &OBJECT.replace("\"200\"", "200"),
            &OBJECT.replace("\"host\"", "\"client\""),
            &OBJECT.replace(",\"referer\":\"\"", ""),
            &format!(r#"{{"data":{{"data":{OBJECT}}}}}"#),
        ] {
            let plain = combined().parse(other.as_bytes(), &mut StampCache::default()).unwrap_err();
            assert_eq!(said(&combined(), other), plain.to_string(), "{other}");
        }
    }

    #[test]
    fn past_the_bound_an_object_is_not_looked_at() {
        let padded = |length: usize| OBJECT.replacen('}', &(" ".repeat(length - OBJECT.len()) + "}"), 1);
        assert!(said(&combined(), &padded(MAX_OBJECT)).starts_with("Event {"));
        assert!(said(&combined(), &padded(MAX_OBJECT + 1)).starts_with("too_long"));
    }

    #[test]
    fn the_client_of_a_header_is_not_in_an_object() {
        let format = r#"%h %l %u %t "%r" %>s %b "%{X-Forwarded-For}i""#.parse::<LogFormat>().unwrap();
        assert!(said(&format, OBJECT).starts_with("Event {"));
        let format = format.with_client("%{X-Forwarded-For}i").unwrap();
        assert_eq!(said(&format, OBJECT), "host at byte 1");
    }
}
