//! Random histories against a naive model: nothing that can be reached is ever lost, and after two
//! runs nothing that cannot be reached is left.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../fixture/mod.rs"]
mod fixture;
mod history;
mod model;
mod trial;

use fixture::{Store, scope};
use history::history;
use model::{Model, Step};
use proptest::prelude::*;
use trial::Trial;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn histories(steps in history()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let store = std::sync::Arc::new(Store::new());
            let mut trial = Trial { store, scope: scope("a"), model: Model::default() };
            for step in &steps {
                match step {
                    Step::Beside(steps) => trial.beside(steps).await,
                    step => trial.step(step).await,
                }
            }
            trial.step(&Step::Collect).await;
        });
    }
}
