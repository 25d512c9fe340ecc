//! A data loader: each resolver asks for one key, the store is asked once for all of them, and each resolver gets its own row.
//!
//! A page of posts shows the name of each author and the team of each author. Written naively that is a query for each name and
//! each team (the "N + 1" problem of GraphQL and of object-relational mappers). Here the code of a resolver is just as naive, and
//! the queries are two.
//!
//! ```text
//! cargo run -p forebay-example-batch --bin dataloader
//! ```

use forebay_batch::{Batch, BatchLayer, Batching};
use forebay_core::BoxError;
use futures_util::future::try_join_all;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

/// The posts of the page. Some authors wrote more than one of them, and one author has left.
const POSTS: u32 = 100;
const AUTHORS: u32 = 12;
const TEAMS: u32 = 3;
const HAS_LEFT: u32 = 7;

#[derive(Clone, Debug)]
struct Author {
    id: u32,
    name: String,
    team: u32,
}

#[derive(Clone, Debug)]
struct Team {
    id: u32,
    name: String,
}

/// Stands for a database: it counts its queries, and each takes 5 ms, whatever the number of its keys.
#[derive(Clone, Default)]
struct Database {
    queries: Arc<AtomicUsize>,
    keys: Arc<AtomicUsize>,
}

/// What the resolvers use: services from a key to its row, or to `None` where there is none.
#[derive(Clone)]
struct Loaders {
    authors: Batch<u32, Option<Author>>,
    teams: Batch<u32, Option<Team>>,
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a program that prints its result")]
async fn main() -> Result<(), BoxError> {
    println!("a page of {POSTS} posts by {AUTHORS} authors of {TEAMS} teams; one author has left");
    let database = Database::default();
    let began = Instant::now();
    let mut one_by_one = Vec::new();
    for post in 0..POSTS {
        let author = database.clone().authors(vec![author_of(post)]).await?.pop();
        let team = match &author {
            Some(author) => database.clone().teams(vec![author.team]).await?.pop(),
            None => None,
        };
        one_by_one.push(line(post, author, team));
    }
    let naive = database.queries.load(Relaxed);
    println!("one by one: {naive:>3} queries, {:>4} ms", began.elapsed().as_millis());

    let database = Database::default();
    let loaders = Loaders::new(&database)?;
    let began = Instant::now();
    // Each resolver knows its own post only.
    let loaded = try_join_all((0..POSTS).map(|post| resolve(post, loaders.clone()))).await?;
    let (queries, keys) = (database.queries.load(Relaxed), database.keys.load(Relaxed));
    println!("by loaders: {queries:>3} queries, {:>4} ms; {keys} keys together", began.elapsed().as_millis());
    for post in [0, 1, HAS_LEFT] {
        println!("  {}", loaded[post as usize]);
    }

    let authors = loaders.authors.handle().drain(Duration::from_secs(1)).await.totals;
    println!("look-ups of authors: {authors}");

    assert_eq!(loaded, one_by_one, "each resolver has its own rows");
    assert_eq!(queries, 2, "one for the authors, one for the teams");
    assert_eq!(keys, (AUTHORS + TEAMS) as usize, "each key is asked for once");
    assert_eq!((authors.offered, authors.delivered), (u64::from(POSTS), u64::from(POSTS)));
    Ok(())
}

/// The code of a resolver: it asks for what it needs, as if it were alone.
async fn resolve(post: u32, mut loaders: Loaders) -> Result<String, BoxError> {
    let author = loaders.authors.ready().await?.call(author_of(post)).await?;
    let team = match &author {
        Some(author) => loaders.teams.ready().await?.call(author.team).await?,
        None => None,
    };
    Ok(line(post, author, team))
}

fn author_of(post: u32) -> u32 {
    post % AUTHORS
}

fn line(post: u32, author: Option<Author>, team: Option<Team>) -> String {
    match (author, team) {
        (Some(author), Some(team)) => format!("post {post} by {} of {}", author.name, team.name),
        (Some(author), None) => format!("post {post} by {}", author.name),
        (None, _) => format!("post {post} by an author who has left"),
    }
}

// === impl Loaders ===

impl Loaders {
    /// One batcher for each kind of row. It is no cache: a key that is asked for later is looked up again.
    ///
    /// No key waits for a time of its own: those that were asked for before the batcher had its turn leave together.
    fn new(database: &Database) -> Result<Self, BoxError> {
        let batching = Batching::new().max_items(1_000).max_delay(Duration::ZERO);
        let (of_authors, of_teams) = (database.clone(), database.clone());
        let authors = BatchLayer::builder()
            .batching(batching)
            .respond_per_key(|id: &u32| *id, |author: &Author| author.id)
            .build()?
            .layer(service_fn(move |ids: Vec<u32>| of_authors.clone().authors(ids)));
        let teams = BatchLayer::builder()
            .batching(batching)
            .respond_per_key(|id: &u32| *id, |team: &Team| team.id)
            .build()?
            .layer(service_fn(move |ids: Vec<u32>| of_teams.clone().teams(ids)));
        Ok(Self { authors, teams })
    }
}

// === impl Database ===

impl Database {
    /// `select id, name, team from authors where id in (..)`: in any order, without the rows that do not exist.
    async fn authors(self, ids: Vec<u32>) -> Result<Vec<Author>, BoxError> {
        self.query(&ids).await;
        let rows = ids.into_iter().rev().filter(|id| *id != HAS_LEFT);
        Ok(rows.map(|id| Author { id, name: format!("author {id}"), team: id % TEAMS }).collect())
    }

    /// `select id, name from teams where id in (..)`.
    async fn teams(self, ids: Vec<u32>) -> Result<Vec<Team>, BoxError> {
        self.query(&ids).await;
        Ok(ids.into_iter().rev().map(|id| Team { id, name: format!("team {id}") }).collect())
    }

    async fn query(&self, ids: &[u32]) {
        self.queries.fetch_add(1, Relaxed);
        self.keys.fetch_add(ids.len(), Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
