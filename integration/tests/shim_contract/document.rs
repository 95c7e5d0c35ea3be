//! `docs/behaviours/shim-contract.md` tells every difference, and no others.

use std::path::Path;

fn text() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/behaviours/shim-contract.md");
    std::fs::read_to_string(file).unwrap_or_default()
}

/// Whether the document has this line.
pub(crate) fn lists(line: &str) -> bool {
    text().lines().any(|l| l == line)
}

/// Each row names a story and a case that exist: the other half, that each difference has its row, is checked by the
/// stories themselves.
#[test]
fn the_document_tells_of_nothing_else() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim_contract");
    let sources: String = std::fs::read_dir(here)
        .unwrap()
        .flatten()
        .map(|entry| std::fs::read_to_string(entry.path()).unwrap())
        .collect();
    let text = text();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| ---") && !l.starts_with("| story"))
        .map(|l| l.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty());
    for row in rows {
        let (story, case) = (row[0], row[1]);
        assert!(sources.contains(&format!("async fn {story}(")), "no story {story}");
        assert!(sources.contains(&format!("\"{case}\"")), "no case {case:?}");
    }
}
