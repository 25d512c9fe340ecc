//! What a page says that a test shows, a test shows: each test that SECURITY.md and docs/systems.md name exists.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The names of all test functions of the workspace.
fn tests() -> BTreeSet<String> {
    tests_below(root())
}

/// The names of all test functions in `path`, a file or a folder.
fn tests_below(path: PathBuf) -> BTreeSet<String> {
    let (mut paths, mut names) = (vec![path], BTreeSet::new());
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
            let is_ours = |name: &str| name != "target" && !name.starts_with('.');
            let ours = entries.filter(|entry| is_ours(&entry.file_name().to_string_lossy()));
            paths.extend(ours.map(|entry| entry.path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            tests_in(&fs::read_to_string(path).unwrap(), &mut names);
        }
    }
    names
}

/// A test is a function below an attribute that ends in `test`, with or without arguments, other attributes between them.
fn tests_in(source: &str, names: &mut BTreeSet<String>) {
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        if let Some(attribute) = line.strip_prefix("#[") {
            let path = attribute.split(['(', ']']).next().unwrap_or_default();
            is_test |= path == "test" || path.ends_with("::test");
        } else if let (Some(name), true) = (name, is_test) {
            names.insert(name.split(['(', '<']).next().unwrap_or_default().to_owned());
            is_test = false;
        } else if !line.starts_with("//") && !line.starts_with([')', '"']) && line.ends_with(['}', ';']) {
            is_test = false;
        }
    }
}

/// The words between backticks in the last column of each table whose header ends in `header`.
fn shown(page: &str, header: &str) -> Vec<String> {
    let mut inside = false;
    let mut words = Vec::new();
    for line in page.lines() {
        let Some(row) = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        let last = row.rsplit('|').next().unwrap_or_default().trim();
        inside |= last == header;
        if inside {
            words.extend(last.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    words
}

/// Whether `word` names a test: by its name, by its first part and `*` or `…`, or by the id that its name carries.
fn is_shown(word: &str, tests: &BTreeSet<String>) -> bool {
    match word.strip_suffix('*').or_else(|| word.strip_suffix('…')) {
        Some(part) => tests.iter().any(|test| test.starts_with(part) || test.contains(&format!("_{part}"))),
        None => {
            let is_id = word.len() == 3 && word[1..].bytes().all(|byte| byte.is_ascii_digit());
            tests.contains(word) || (is_id && tests.iter().any(|test| test.split('_').any(|part| part == word)))
        }
    }
}

/// The ids that the names of tests carry: `b07` of `b07_late_result_moves_nothing`.
fn ids(tests: &BTreeSet<String>) -> BTreeSet<String> {
    let is_id = |part: &&str| {
        let (letter, digits) = part.split_at(1);
        part.len() == 3 && "bcdefgkqrstx".contains(letter) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let parts = tests.iter().flat_map(|test| test.split('_').filter(|part| part.is_ascii() && !part.is_empty()));
    parts.filter(is_id).map(str::to_uppercase).collect()
}

#[test]
fn the_page_of_behaviours_lists_what_tests_carry() {
    let page = fs::read_to_string(root().join("docs/behaviours.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let listed: BTreeSet<String> = rows.filter(|word| !["id", "---"].contains(word)).map(str::to_owned).collect();
    assert_eq!(ids(&tests()), listed);
}

#[test]
fn f26_every_test_that_security_names_exists() {
    let (tests, page) = (tests(), fs::read_to_string(root().join("SECURITY.md")).unwrap());
    let words = shown(&page, "shown by");
    let unknown: Vec<_> = words.iter().filter(|word| !is_shown(word, &tests)).collect();
    assert!(words.len() >= 9 && unknown.is_empty(), "no such test: {unknown:?}");
    // Each row names one.
    let rows =
        page.lines().filter(|line| line.starts_with('|') && !line.starts_with("| --") && !line.contains("shown by"));
    let bare: Vec<_> = rows.filter(|row| !row.rsplit('|').nth(1).is_some_and(|last| last.contains('`'))).collect();
    assert!(bare.is_empty(), "no test is named: {bare:?}");
}

#[test]
fn f26_every_row_of_the_systems_page_names_tests_that_exist() {
    let (tests, page) = (tests(), fs::read_to_string(root().join("docs/systems.md")).unwrap());
    // Each by its whole name: a part of one goes on matching when the test that it stood for is gone.
    let steps = fs::read_to_string(root().join("crates/forebay-kip714/tests/kafka/main.rs")).unwrap();
    let exists = |word: &str| match word.strip_prefix("kafka::") {
        Some(step) => steps.contains(&format!("\nasync fn {step}(")),
        None => tests.contains(word),
    };
    let (mut rows, mut named, mut wrong) = (0, 0, Vec::new());
    let mut inside = false;
    for line in page.lines() {
        let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else {
            inside = false;
            continue;
        };
        let last = row.rsplit(" | ").next().unwrap();
        if !inside || last.starts_with("---") {
            // The table of the broker's own rules is one of meanings, and has no such column.
            inside |= last == "proved by";
            continue;
        }
        rows += 1;
        // Beside tests the column may name a crate, with its dash.
        let words: Vec<_> = last.split('`').skip(1).step_by(2).filter(|word| !word.contains('-')).collect();
        named += words.len();
        if (words.is_empty() && last != "–") || !words.iter().all(|word| exists(word)) {
            wrong.push(line);
        }
    }
    assert!(rows > 200 && named > 300 && wrong.is_empty(), "{rows} rows, {named} tests; wrong: {wrong:#?}");
}

/// The sources of the programs and libraries in `folder` that cargo does not build as tests: their target says `test = false`.
fn untested(folder: &Path) -> Vec<PathBuf> {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let mut sources = Vec::new();
    for section in manifest.split("\n[").filter(|section| section.contains("\ntest = false")) {
        let named = |key| section.lines().find_map(|line| line.strip_prefix(key)?.trim_matches(['=', ' ', '"']).into());
        let path: Option<&str> = named("path");
        match section.lines().next() {
            Some("lib]") => sources.push(folder.join(path.unwrap_or("src"))),
            Some("[bin]]") => {
                let name: &str = named("name").unwrap();
                let program = folder.join("src/bin").join(name);
                sources.push(path.map_or(program.with_extension("rs"), |path| folder.join(path)));
                sources.push(program);
            }
            _ => {}
        }
    }
    sources
}

/// The manifests of all crates, by their folders, without what only their tests depend on.
fn manifests() -> Vec<(String, String)> {
    let folders = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap());
    let read = |folder: fs::DirEntry| {
        let text = fs::read_to_string(folder.path().join("Cargo.toml")).unwrap();
        let shipped: Vec<_> = text.split("\n[").filter(|section| !section.starts_with("dev-dependencies")).collect();
        (folder.file_name().to_string_lossy().into_owned(), shipped.join("\n["))
    };
    folders.map(read).collect()
}

#[test]
fn f26_no_crate_has_unsafe_code_and_those_with_tls_are_named() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("\nunsafe_code = \"forbid\"\n"));
    let mut with_tls = BTreeSet::new();
    for (name, manifest) in manifests() {
        assert!(manifest.contains("\n[lints]\nworkspace = true\n"), "{name} has lints of its own");
        let is_tls =
            |line: &&str| ["rustls", "native-tls", "openssl", "async-nats"].iter().any(|tls| line.contains(tls));
        if manifest.lines().any(|line| is_tls(&line) && !line.starts_with('#')) {
            with_tls.insert(name);
        }
    }
    assert_eq!(with_tls.iter().map(String::as_str).collect::<Vec<_>>(), ["forebay-kip714", "forebay-spool-nats"]);
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    assert!(with_tls.iter().all(|name| page.contains(&format!("`{name}`"))));
}

/// What is not built as a test costs no time, and runs no test that is put into it.
#[test]
fn no_target_without_a_harness_has_a_test() {
    let mut seen = 0;
    for folder in files("crates").chain(files("examples")).chain([root().join("tests")]) {
        for source in untested(&folder).into_iter().filter(|source| source.exists()) {
            seen += 1;
            let names = tests_below(source.clone());
            assert!(names.is_empty(), "{} says `test = false`, and has {names:?}", source.display());
        }
    }
    assert!(seen > 20, "{seen} targets");
}

#[test]
fn a_test_is_told_from_a_function() {
    let mut names = BTreeSet::new();
    let source = "#[test]\nfn one() {}\nfn two() {}\n#[tokio::test(start_paused = true)]\n#[expect(x)]\nasync fn three() {\n}\n\
                  #[test]\n#[cfg(unix)]\n// A comment.\nfn four() {}\n#[derive(Debug)]\nfn five() {}";
    tests_in(source, &mut names);
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["four", "one", "three"]);
}

/// The features of the manifest at `path`, without `default`.
fn features(path: &Path) -> BTreeSet<String> {
    let manifest = fs::read_to_string(path).unwrap();
    let lines = manifest.lines().skip_while(|line| *line != "[features]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let names = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric()));
    names
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name != "default")
        .collect()
}

/// The features in the first column of each table whose header begins with `feature`.
fn described(page: &str) -> BTreeSet<String> {
    let (mut inside, mut names) = (false, BTreeSet::new());
    for line in page.lines() {
        let Some(row) = line.trim().strip_prefix('|') else {
            inside = false;
            continue;
        };
        let first = row.split('|').next().unwrap_or_default().trim();
        if inside && !first.starts_with('-') {
            names.extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
        }
        inside |= first == "feature";
    }
    names
}

#[test]
fn every_page_of_a_crate_says_how_to_add_it_and_which_features_it_has() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let wanted = |manifest: &str| {
        let line = manifest.lines().find(|line| line.starts_with("rust-version = "))?;
        Some(line.split('"').nth(1)?.to_owned())
    };
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if !folder.join("src/lib.rs").exists() {
            // A program is installed, not depended on.
            continue;
        }
        let page = fs::read_to_string(folder.join("README.md")).unwrap();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let rust = wanted(&manifest).or_else(|| wanted(&workspace)).unwrap();
        let opening = page.split("```text").next().unwrap();
        assert!(opening.contains(&format!("dependencies]\n{name} = ")), "{name}: no dependency to copy");
        assert!(opening.contains(&format!("Rust {rust} or newer")), "{name}: another Rust than {rust}");
        assert_eq!(described(&page), features(&folder.join("Cargo.toml")), "{name}");
    }
}

#[test]
fn every_step_of_the_gate_is_one_of_the_workflow_and_a_recipe() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (gate, workflow, recipes) = (read(".ci/run"), read(".github/workflows/ci.yml"), read("justfile"));
    let steps: Vec<_> = gate.lines().filter_map(|line| line.strip_prefix("step .ci/")).collect();
    let matrix = workflow.split("step: [").nth(1).unwrap().split(']').next().unwrap();
    let listed: Vec<_> = matrix.split(',').map(str::trim).collect();
    // The workflow may do more: it has a machine for each step.
    assert!(BTreeSet::from_iter(&steps).is_subset(&BTreeSet::from_iter(&listed)), "{steps:?}");
    for step in listed {
        assert!(recipes.lines().any(|line| line.trim().starts_with(&format!(".ci/{step}")) || line.contains(&format!("}} .ci/{step}"))), "{step}");
    }
}

/// The paths of all files below `folder` that may be of the repository.
fn paths(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let is_built = ["target", ".git", ".cache", "artifacts"].iter().any(|name| entry.file_name() == *name);
        if entry.file_type().unwrap().is_dir() && !is_built {
            paths(&entry.path(), found);
        }
        found.push(entry.path());
    }
}

/// Whether Windows can have a file of this name; one that it cannot have fails the checkout of all.
fn is_valid_on_windows(name: &str) -> bool {
    const DEVICES: [&str; 4] = ["aux", "con", "nul", "prn"];
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_port = stem.len() == 4 && (stem.starts_with("com") || stem.starts_with("lpt"));
    let is_device = DEVICES.contains(&stem.as_str()) || is_port;
    !is_device && !name.ends_with([' ', '.']) && !name.contains(['<', '>', ':', '"', '|', '?', '*', '\\'])
}

#[test]
fn windows_can_check_out_every_file() {
    assert!(!is_valid_on_windows("nul") && !is_valid_on_windows("a:b") && is_valid_on_windows("null.rs"));
    let mut found = Vec::new();
    paths(&root(), &mut found);
    let names = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let wrong: Vec<_> = found.iter().filter(|path| !is_valid_on_windows(&names(path))).collect();
    assert!(found.len() > 500 && wrong.is_empty(), "{wrong:#?}");
}

/// What of `page` a reader sees in fenced blocks and is wider than `columns`, with its number.
fn wide(page: &str, columns: usize) -> Vec<(usize, &str)> {
    let (mut inside, mut found) = (false, Vec::new());
    for (number, line) in (1..).zip(page.lines()) {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        // A line that a doctest hides is not on the page.
        } else if inside && line != "#" && !line.starts_with("# ") && line.chars().count() > columns {
            found.push((number, line));
        }
    }
    found
}

#[test]
fn a_wide_line_of_a_block_is_found() {
    let page = "A wide line of text.\n```rust\nnarrow\n# a hidden line\na wide line\n```\nA wide line of text.";
    assert_eq!(wide(page, 8), [(5, "a wide line")]);
}

/// The files in `folder`, of this repository.
fn files(folder: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path())
}

/// docs.rs has room for some 92 columns on a screen that is 1280 pixels wide; what is wider is cut off. So has the guide.
#[test]
fn no_block_of_a_page_is_cut_off() {
    let guide = files("docs/guide/pages").chain(files("docs/guide/pages/coming-from"));
    let pages = files("crates").map(|folder| folder.join("README.md")).chain(guide.filter(|path| path.is_file()));
    for path in pages.chain([root().join("README.md")]) {
        let page = fs::read_to_string(&path).unwrap();
        assert!(wide(&page, 90).is_empty(), "{}: {:#?}", path.display(), wide(&page, 90));
    }
}
