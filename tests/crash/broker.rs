//! The broker dies too. It has promised only what it has saved, so its publishers send again what came after that; from there on
//! the promise is ours.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::timeout;

use super::publisher::publish;
use super::script::Script;
use super::{account, town};
use crate::support::datasjo::GUARD;
use crate::support::mosquitto::Mosquitto;

/// Deaths of the broker in one town.
const DEATHS: usize = 3;

/// The broker dies under load, three times; `both` lets the program die with it.
async fn live(seed: u64, both: bool) {
    let script = Script::new(seed);
    let mut random = SmallRng::seed_from_u64(seed);
    let mut broker = Mosquitto::start().await;
    let topic = "crash/broker";
    let (_dir, mut datasjo) = town(&broker.url(), topic, script.flush_rows).await;
    let mut saved = 0;
    for death in 1..=DEATHS {
        // Part of the messages is saved, the others are under way when it happens.
        let until = script.messages.len() * death / (DEATHS + 1);
        let save_at = random.random_range(saved..until);
        let (tell, _) = watch::channel(0);
        publish(broker.port(), topic, &script.messages[saved..save_at], &tell).await.unwrap();
        broker.save().await;
        saved = save_at;

        let (tell, mut confirmed) = watch::channel(0);
        let under_way = script.messages[saved..until].to_vec();
        let first_deaths = random.random_range(0..=under_way.len());
        let port = broker.port();
        let publishing = tokio::spawn(async move { publish(port, topic, &under_way, &tell).await });
        timeout(GUARD, confirmed.wait_for(|n| *n >= first_deaths)).await.expect("the broker does not take it").unwrap();
        broker.kill();
        if both {
            datasjo.kill().await;
        }
        // The publisher may have been faster than the death, or have lost its connection: it sends again from `saved` on.
        let _ = publishing.await.unwrap();
        broker.start_again().await;
        if both {
            datasjo.start().await;
        }
    }
    let (tell, _) = watch::channel(0);
    publish(broker.port(), topic, &script.messages[saved..], &tell).await.unwrap();
    account::drained(&datasjo, &script).await;
    datasjo.terminate().await;
    account::is_exact(&datasjo, &script, 1 + DEATHS, DEATHS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_under_load_costs_nothing_it_had_saved() {
    live(1_001, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_and_the_program_killed_together_cost_nothing_the_broker_had_saved() {
    live(1_002, true).await;
}
