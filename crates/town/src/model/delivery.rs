use crate::calendar::{HOUR, MINUTE, SECOND};
use crate::messages::{Sent, Via, What};
use crate::model::Made;
use crate::noise::Noise;

/// From the making of a reading to its last copy's sending never more than this passes.
pub(crate) const LONGEST: i64 = 27 * HOUR;

/// Messages that come minutes to a day late: a gateway was out of reach.
const LATE_SHARE: f64 = 0.003;
const LATE_FROM: f64 = 2.0 * MINUTE as f64;
const LATE_UNTIL: f64 = 23.0 * HOUR as f64;
/// Messages overtaken by their neighbours.
const OVERTAKEN_SHARE: f64 = 0.01;
const OVERTAKEN_LONGEST: f64 = 2.0 * MINUTE as f64;
/// Messages that come twice: an acknowledgement was lost.
const DOUBLED_SHARE: f64 = 0.004;
const DOUBLED_LONGEST: f64 = 10.0 * MINUTE as f64;
/// Messages followed by one that cannot be read.
const GARBAGE_SHARE: f64 = 0.0005;

/// What becomes of a reading on its way: one message or more, by chance that depends on the reading alone. Nothing is lost
/// here; what a dead device never measured was never made.
pub(crate) fn send(noise: Noise, made: Made) -> Vec<Sent> {
    if made.via == Via::HttpServed {
        return vec![sent(&made, made.ready_ms, What::Readings, false)];
    }
    let chance = noise.of("way").of(made.dataset).of(made.series()).at(made.ready_ms);
    let (delay, late) = delay_ms(chance);
    let at = made.ready_ms + delay;
    let mut all = vec![sent(&made, at, What::Readings, late)];
    if chance.of("doubled").chance(DOUBLED_SHARE) {
        let again = at + chance.of("again").between(SECOND as f64, DOUBLED_LONGEST) as i64;
        all.push(sent(&made, again, What::Again, late));
    }
    if chance.of("garbage").chance(GARBAGE_SHARE) {
        all.push(garbage(&made, at + SECOND, chance.of("kind")));
    }
    all
}

fn delay_ms(chance: Noise) -> (i64, bool) {
    let network = chance.of("network").between(20.0, 2.0 * SECOND as f64);
    if chance.of("late").chance(LATE_SHARE) {
        let stretch = (LATE_UNTIL / LATE_FROM).powf(chance.of("how late").unit());
        return ((network + LATE_FROM * stretch) as i64, true);
    }
    if chance.of("overtaken").chance(OVERTAKEN_SHARE) {
        return ((network + chance.of("by").between(5.0 * SECOND as f64, OVERTAKEN_LONGEST)) as i64, false);
    }
    (network as i64, false)
}

fn sent(made: &Made, at_ms: i64, what: What, late: bool) -> Sent {
    Sent {
        at_ms,
        via: made.via.clone(),
        payload: made.payload.clone(),
        what,
        late,
        dataset: made.dataset,
        readings: made.readings.clone(),
    }
}

/// Bytes from which no reading can be had: cut off in the middle, of the wrong types, or no text at all.
fn garbage(made: &Made, at_ms: i64, kind: Noise) -> Sent {
    let payload = match (kind.unit() * 3.0) as u32 {
        0 => made.payload[..made.payload.len() * 3 / 5].to_vec(),
        1 => br#"{"time":"yesterday","value":true,"message":[]}"#.to_vec(),
        _ => vec![0xff, 0xfe, 0x00, 0x7b, 0x22, 0xc3, 0x28],
    };
    Sent { payload, readings: Vec::new(), ..sent(made, at_ms, What::Garbage, false) }
}
