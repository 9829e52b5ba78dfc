//! Products: the cases their authors wrote, and what becomes of a product that is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasjo_pipeline::{Catalog, Problem, Product, cases, product};
use datasjo_table::Table;

/// Planning recurses as deep as expressions nest; the stack of a test's own thread is small.
const STACK_BYTES: usize = 32 << 20;

fn with_room<T: Send + 'static, F: Future<Output = T>>(work: impl FnOnce() -> F + Send + 'static) -> T {
    let run = move || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work());
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap().join().unwrap()
}

fn folder(product: &Product) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("pipelines").join(product.name())
}

fn datasets() -> BTreeMap<String, Arc<Table>> {
    datasjo_datasets::builtin().into_iter().map(|table| (table.name.clone(), Arc::new(table))).collect()
}

fn one(name: &str, sql: &str) -> Result<Product, Vec<Problem>> {
    let head = format!(
        "-- product: {name}\n-- meaning: m\n-- kind: table\n-- every: 1 hour\n-- reach: 1 day\n-- keys: station_id\n\
         -- access: public\n-- owner: water\n"
    );
    Product::new(name, vec![(format!("10-{name}.sql"), head + sql)])
}

#[test]
fn every_carried_product_has_a_case() {
    let (products, problems) = product::load(None);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(!products.is_empty());
    let without: Vec<&str> =
        products.iter().filter(|product| cases::list(&folder(product)).unwrap().is_empty()).map(Product::name).collect();
    assert!(without.is_empty(), "no case: {}", without.join(", "));
}

#[test]
fn all_cases_of_carried_products_pass() {
    let told = with_room(|| async {
        let (products, _) = product::load(None);
        let datasets = datasets();
        let mut told = Vec::new();
        for product in &products {
            for case in cases::list(&folder(product)).unwrap() {
                let result = cases::check(product, &case, &datasets, &products).await;
                told.extend(result.differences.into_iter().map(|difference| format!("{}: {difference}", result.name)));
            }
        }
        told
    });
    assert!(told.is_empty(), "{} differences:\n{}", told.len(), told.join("\n"));
}

#[test]
fn every_mistake_in_a_head_is_told_with_its_place() {
    let sql = "-- product: wrong\n-- meaning: m\n-- kind: alarm\n-- every: 7 minutes\n-- reach: 1 day\n-- keys: station_id\n\
               -- access: public\n-- ovner: water\nSELECT 1";
    let problems = Product::new("wrong", vec![("10-wrong.sql".to_owned(), sql.to_owned())]).unwrap_err();
    let told: Vec<String> = problems.iter().map(Problem::to_string).collect();
    for begins in ["wrong/10-wrong.sql:3:4: \"alarm\"", "wrong/10-wrong.sql:4:4: 7 minutes", "wrong/10-wrong.sql:8:4: "] {
        assert!(told.iter().any(|problem| problem.starts_with(begins)), "{begins} is not among {told:#?}");
    }
    assert!(told.iter().any(|problem| problem.contains("did you mean \"owner\"?")), "{told:#?}");
}

#[test]
fn a_broken_product_is_told_with_its_place_and_stops_no_other() {
    let catalog = with_room(|| async {
        let products = vec![
            one("broken", "SELECT t.as_of, r.no_such_column AS station_id\nFROM ticks t CROSS JOIN river r").unwrap(),
            one("reads_broken", "SELECT t.as_of, b.station_id FROM ticks t CROSS JOIN broken b").unwrap(),
            one("good", "SELECT t.as_of, r.station_id, r.stage_cm FROM ticks t CROSS JOIN river r").unwrap(),
            one("reads_good", "SELECT as_of, station_id, stage_cm FROM good").unwrap(),
        ];
        Catalog::plan(products, &datasets(), &BTreeMap::new()).await
    });
    let running: Vec<&str> = catalog.products.iter().map(|planned| planned.product.name()).collect();
    assert_eq!(running, ["good", "reads_good"]);
    assert_eq!(catalog.idle.len(), 1, "{:?}", catalog.idle);
    assert_eq!(
        (catalog.idle[0].product.as_str(), catalog.idle[0].missing.as_slice()),
        ("reads_broken", &["broken".to_owned()][..])
    );
    assert_eq!(catalog.problems.len(), 1, "{:?}", catalog.problems);
    assert!(catalog.problems[0].to_string().starts_with("broken/10-broken.sql:9:"), "{}", catalog.problems[0]);
}

#[test]
fn a_case_that_does_not_hold_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("stages/cases/one");
    std::fs::create_dir_all(&case).unwrap();
    std::fs::write(case.join("river.csv"), "station_id,observed_at,stage_cm\nR1,2026-03-01T00:30:00Z,40\n").unwrap();
    let expected = "as_of,station_id,stage_cm\n2026-03-01T01:00:00Z,R1,41\n2026-03-01T01:00:00Z,R2,7\n";
    std::fs::write(case.join("expected.csv"), expected).unwrap();
    let result = with_room(move || async move {
        let sql = "SELECT t.as_of, r.station_id, r.stage_cm FROM ticks t JOIN river r ON r.received_at <= t.as_of";
        let product = one("stages", sql).unwrap();
        cases::check(&product, &case, &datasets(), &[]).await
    });
    assert_eq!(result.name, "stages/one");
    assert_eq!(
        result.differences,
        [
            "expected.csv:2: 2026-03-01T01:00:00Z R1: stage_cm is 40.0, expected 41",
            "expected.csv:3: 2026-03-01T01:00:00Z R2: there is no such row"
        ]
    );
}
