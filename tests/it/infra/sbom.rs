//! The list of what the program is made of, against what cargo itself says. Builds nothing.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

use super::{read, root, succeed, text};

fn document() -> Value {
    let mut script = Command::new("python3");
    script.current_dir(root()).arg("infra/sbom.py").env("CARGO", env!("CARGO"));
    serde_json::from_slice(&succeed(&mut script).stdout).unwrap()
}

/// `name@version` of what `cargo tree` shows.
fn tree(edges: &str) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(root()).args(["tree", "--locked", "--prefix", "none", "--no-dedupe", "--edges", edges]);
    let shown = text(&succeed(&mut tree).stdout);
    let named = |line: &str| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        (name != "logtally").then(|| format!("{name}@{version}"))
    };
    shown.lines().filter_map(named).collect()
}

#[test]
fn the_bill_of_materials_lists_what_is_compiled_in_with_licence_and_checksum() {
    let document = document();
    assert_eq!((&document["bomFormat"], &document["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let locked = lock["package"].as_array().unwrap();
    let mut listed = BTreeSet::new();
    for component in document["components"].as_array().unwrap() {
        let (name, version) = (component["name"].as_str().unwrap(), component["version"].as_str().unwrap());
        let licence = component["licenses"][0]["expression"].as_str().unwrap();
        assert!(
            !licence.is_empty() && licence != "NOASSERTION" && !licence.contains('/'),
            "{name}: {licence}"
        );
        assert_eq!(component["purl"], format!("pkg:cargo/{name}@{version}"));
        let package = locked.iter().find(|package| {
            package["name"].as_str() == Some(name) && package["version"].as_str() == Some(version)
        });
        let checksum =
            package.unwrap_or_else(|| panic!("{name} {version} is not in Cargo.lock"))["checksum"].as_str();
        assert_eq!(component["hashes"][0]["content"].as_str(), checksum, "{name}");
        listed.insert(format!("{name}@{version}"));
    }
    assert_eq!(listed, tree("normal,build"));
    let linked: BTreeSet<String> = document["components"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|component| component["scope"] == "required")
        .map(|component| component["purl"].as_str().unwrap().trim_start_matches("pkg:cargo/").to_owned())
        .collect();
    assert_eq!(linked, tree("normal"));
    assert!(!listed.iter().any(|name| name.starts_with("proptest@")), "tests are not shipped");
    assert_eq!(document["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_bill_of_materials_is_shipped_with_the_package_and_the_image() {
    let shipped = "usr/share/doc/logtally/";
    assert!(read("Cargo.toml").contains(&format!("[\"target/release/logtally.cdx.json\", \"{shipped}\"")));
    let image = read("infra/Dockerfile");
    assert!(image.contains("python3 infra/sbom.py > /logtally.cdx.json"));
    assert!(image.contains(&format!("/logtally.cdx.json /{shipped}logtally.cdx.json")));
}
