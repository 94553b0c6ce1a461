//! The page about scale says what its script calculates. Needs python3 (3.11 or later) and nothing else.

use std::{path::Path, process::Command};

#[test]
fn the_tables_of_the_page_are_what_the_script_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let printed = Command::new("python3").arg(root.join("docs/scale.py")).output();
    let printed = printed.unwrap_or_else(|error| panic!("this test needs python3: {error}"));
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let page = std::fs::read_to_string(root.join("docs/scale.md")).unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let tables: Vec<&str> = printed.split_inclusive("<!-- end -->\n").collect();
    assert_eq!(tables.len(), 5, "{printed}");
    for table in tables {
        assert!(page.contains(table), "run `python3 docs/scale.py --update`; the page has not\n{table}");
    }
}
