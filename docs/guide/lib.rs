//! The guide's code blocks as doc tests, and its pages held to what they say: `mdbook build docs/guide` makes the book.

macro_rules! pages {
    ($($name:ident: $path:literal),* $(,)?) => {
        /// Where each page is, below `docs/guide`.
        pub const PAGES: &[&str] = &[$($path),*];

        $(
            #[cfg(all(doctest, feature = "pages"))]
            #[doc = include_str!($path)]
            pub mod $name {}
        )*
    };
}

pages! {
    introduction: "pages/introduction.md",
    first_layer: "pages/first-layer.md",
    clients: "pages/clients.md",
    servers: "pages/servers.md",
    batching: "pages/batching.md",
    telemetry: "pages/telemetry.md",
    operating: "pages/operating.md",
    order: "pages/order.md",
    testing: "pages/testing.md",
    tower_retry: "pages/coming-from/tower-retry.md",
    tower_buffer: "pages/coming-from/tower-buffer.md",
    backon: "pages/coming-from/backon.md",
    failsafe: "pages/coming-from/failsafe.md",
    reqwest_retry: "pages/coming-from/reqwest-retry.md",
    tower_resilience: "pages/coming-from/tower-resilience.md",
    seatbelt: "pages/coming-from/seatbelt.md",
    tower_batch: "pages/coming-from/tower-batch.md",
    opentelemetry_sdk: "pages/coming-from/opentelemetry-sdk.md",
}

#[cfg(test)]
mod tests {
    use super::PAGES;
    use std::{collections::BTreeSet, fs, path::Path};

    fn page(path: &str) -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }

    #[test]
    fn every_page_is_listed_and_compiled() {
        let summary = page("pages/SUMMARY.md");
        let listed = summary.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let listed: BTreeSet<String> = listed.map(|link| format!("pages/{link}")).collect();
        assert_eq!(listed, PAGES.iter().map(|path| (*path).to_owned()).collect());
    }

    #[test]
    fn every_link_to_a_page_leads_to_one() {
        for path in PAGES {
            let (text, folder) = (page(path), Path::new(path).parent().unwrap().to_owned());
            let links = text.split("](").skip(1).filter_map(|rest| rest.split(&[')', '#'][..]).next());
            for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
                let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder).join(link);
                assert!(target.exists(), "{path}: {link}");
            }
        }
    }

    /// The Rust blocks of a page, as lines without their indentation.
    fn blocks(page: &str) -> Vec<Vec<String>> {
        let mut blocks = Vec::new();
        for block in page.split("```rust").skip(1) {
            let code = block.split("```").next().unwrap_or_default();
            let lines = code.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && *line != "}");
            blocks.push(lines.map(str::to_owned).collect());
        }
        blocks
    }

    #[test]
    fn who_comes_from_another_library_writes_at_most_ten_lines() {
        for path in PAGES.iter().filter(|path| path.contains("coming-from")) {
            let blocks = blocks(&page(path));
            assert_eq!(blocks.len(), 2, "{path} shows the code before and after");
            let (before, after) = (&blocks[0], &blocks[1]);
            let written: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
            assert!(written.len() <= 10, "{path}: {written:#?}");
        }
    }
}
