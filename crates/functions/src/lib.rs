//! The functions of ours that SQL steps call: window functions over the models, and a calendar. A window function reads its
//! partition once, in its order; it starts from the state in its arguments and gives its state back, so that a batch and its
//! pieces agree.
//!
//! | function | order | for |
//! |---|---|---|
//! | `public_holiday(date, country)` | - | day types |
//! | `leak_watch(...)` | day | raising and clearing leaks |
//! | `lot_occupancy(...)` | arrival | vehicles in a car park |
//! | `hold_state(...)` | tick | FULL and FREE without flicker |
//! | `soil_state(...)` | step | snow, soil and crests |
//! | `hold_level(...)` | step | warnings that are raised, held, lowered |

#![warn(missing_docs)]

mod answers;
mod arguments;
mod calendar;
mod flood;
mod leaks;
mod ordered;
mod parking;

use datafusion::prelude::SessionContext;

/// Makes all of them known to a session.
pub fn register(context: &SessionContext) {
    context.register_udf(calendar::public_holiday());
    context.register_udwf(leaks::leak_watch());
    context.register_udwf(parking::lot_occupancy());
    context.register_udwf(parking::hold_state());
    context.register_udwf(flood::soil_state());
    context.register_udwf(flood::hold_level());
}
