//! The compile errors that a first user meets name their cure, and the cure compiles.
//!
//! Each file of `tests/compile_errors` is a program that does not compile. Its first lines say the error code, and phrases
//! that the message must contain; with the feature `cure` the same program does what the message says, and compiles. Whole
//! messages are not compared, as `trybuild` does: most of a message is the compiler's, and changes with its version.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The programs of one folder, which are the binaries of one package.
struct Programs {
    folder: &'static str,
    /// Lines of its manifest: what the programs have, and what the feature `cure` adds.
    dependencies: &'static str,
    cure: &'static str,
}

/// What the first lines of a program say.
struct Expected {
    code: String,
    phrases: Vec<String>,
}

const FOREBAY: Programs = Programs {
    folder: "forebay",
    dependencies: r#"
        bytes = "1"
        forebay = { path = 'ROOT/crates/forebay' }
        http = "1"
        http-body-util = "0.1"
        tower = { version = "0.5", default-features = false, features = ["util"] }
    "#,
    cure: r#"["forebay/grpc", "forebay/otlp"]"#,
};

/// Single layers, without their features.
const LAYERS: Programs = Programs {
    folder: "layers",
    dependencies: r#"
        forebay-breaker = { path = 'ROOT/crates/forebay-breaker', default-features = false }
        forebay-retry = { path = 'ROOT/crates/forebay-retry', default-features = false }
        http = "1"
        tower = { version = "0.5", default-features = false, features = ["util"] }
    "#,
    cure: r#"["forebay-breaker/http", "forebay-retry/http"]"#,
};

#[test]
#[ignore = "compiles for long; `.ci/test` runs it"]
fn a_compile_error_names_its_cure_in_forebay() {
    FOREBAY.check();
}

#[test]
#[ignore = "compiles for long; `.ci/test` runs it"]
fn a_compile_error_names_its_cure_in_a_layer_by_itself() {
    LAYERS.check();
}

// === impl Programs ===

impl Programs {
    fn check(&self) {
        let expected = self.expected();
        assert!(!expected.is_empty());
        let manifest = self.write_package();

        let mut messages = errors(&cargo_check(&manifest, &[]));
        let mut faults = String::new();
        for (name, Expected { code, phrases }) in &expected {
            let errors = messages.remove(name).unwrap_or_default();
            // The cure must stand in the first message: further ones are what follows from the first mistake.
            match errors.first() {
                None => writeln!(faults, "{name} compiles").unwrap(),
                Some((found, text)) => {
                    let missing: Vec<_> = phrases.iter().filter(|phrase| !text.contains(*phrase)).collect();
                    if found != code || !missing.is_empty() {
                        writeln!(faults, "{name} is to fail with {code} and to say {missing:?}:\n{text}").unwrap();
                    }
                }
            }
        }
        assert!(faults.is_empty(), "{faults}");

        let cured = cargo_check(&manifest, &["--features", "cure"]);
        assert!(cured.status.success(), "{:#?}", errors(&cured));
    }

    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("compile_errors").join(self.folder)
    }

    fn expected(&self) -> BTreeMap<String, Expected> {
        let files = fs::read_dir(self.folder()).unwrap().map(|file| file.unwrap().path());
        files.map(|file| (file.file_stem().unwrap().to_str().unwrap().to_owned(), Expected::of(&file))).collect()
    }

    /// A package outside of the workspace, with the versions of the workspace.
    fn write_package(&self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_errors").join(self.folder);
        fs::create_dir_all(&package).unwrap();
        let mut manifest = format!(
            "[workspace]\n[package]\nname = \"{}-programs\"\nedition = \"2024\"\nautobins = false\n\
             [features]\ncure = {}\n[dependencies]{}\n",
            self.folder,
            self.cure,
            self.dependencies.replace("ROOT", root.to_str().unwrap()),
        );
        for name in self.expected().keys() {
            let path = self.folder().join(name).with_extension("rs");
            write!(manifest, "[[bin]]\nname = {name:?}\npath = {path:?}\n").unwrap();
        }
        fs::write(package.join("Cargo.toml"), manifest).unwrap();
        fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
        package.join("Cargo.toml")
    }
}

// === impl Expected ===

impl Expected {
    fn of(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let all = |key| text.lines().filter_map(move |line| line.strip_prefix(key)).map(str::to_owned);
        let code = all("// code: ").next().unwrap_or_else(|| panic!("{} names no code", file.display()));
        Self { code, phrases: all("// says: ").collect() }
    }
}

fn cargo_check(manifest: &Path, arguments: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--bins", "--keep-going", "--offline", "--message-format", "json", "--manifest-path"]);
    // Its own target directory: that of the workspace may be locked by the cargo that runs this test.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_errors/target");
    cargo.arg(manifest).args(arguments).env("CARGO_TARGET_DIR", target).output().unwrap()
}

/// The errors of each program, by code and message, in the order of the compiler.
fn errors(output: &Output) -> BTreeMap<String, Vec<(String, String)>> {
    let mut errors = BTreeMap::<_, Vec<_>>::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let message = &line["message"];
        if message["level"] == "error" {
            let error = (text(&message["code"]["code"]), text(&message["rendered"]));
            errors.entry(text(&line["target"]["name"])).or_default().push(error);
        }
    }
    assert!(output.status.success() || !errors.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    errors
}
