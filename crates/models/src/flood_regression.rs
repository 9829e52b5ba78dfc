//! The highest discharge of the next 6 h as a weighted sum of what is known: the second opinion beside [`crate::soil`].

/// What the sum is taken over, in this order: 1, discharge, its rise in 3 h, rain of the last 0-3, 3-6, 6-12 and 12-24 h,
/// antecedent precipitation, the same times the rain of 6 h, mean temperature above zero of 6 h, rain forecast for three steps.
pub const TERMS: usize = 11;
/// Without the forecast.
pub const OBSERVED_TERMS: usize = 10;
/// Fewest rows a fit is made on: three weeks of hours.
const ROWS_MIN: usize = 500;
/// Below this share of the yellow threshold a row is everyday water and counts a tenth.
const EVERYDAY_SHARE: f64 = 0.15;
const EVERYDAY_WEIGHT: f64 = 0.1;
/// Above this share of the yellow threshold a row's target is a flood or nearly, and counts two more.
const FLOOD_SHARE: f64 = 0.5;
const FLOOD_WEIGHT: f64 = 2.0;
/// Ridge on the scaled terms: keeps terms that hardly vary from running away.
const RIDGE: f64 = 1e-3;

/// A past row: its terms, and the highest discharge of the 6 h after it, mm/h.
#[derive(Clone, Copy, Debug)]
pub struct RegressionRow {
    /// The terms, in the order of the module's list.
    pub terms: [f64; TERMS],
    /// The highest discharge of the 6 h after it, mm/h.
    pub highest_mm_per_h: f64,
}

/// Weighted least squares over the first `used` terms; the others get 0. None with too few rows.
pub fn fit_regression(rows: &[RegressionRow], used: usize, yellow_mm_per_h: f64) -> Option<[f64; TERMS]> {
    if rows.len() < ROWS_MIN {
        return None;
    }
    let mut matrix = [[0.0; TERMS]; TERMS];
    let mut right = [0.0; TERMS];
    for row in rows {
        let weight = weight(row, yellow_mm_per_h);
        for (i, term) in row.terms[..used].iter().enumerate() {
            right[i] += weight * term * row.highest_mm_per_h;
            for (entry, other) in matrix[i][..=i].iter_mut().zip(&row.terms) {
                *entry += weight * term * other;
            }
        }
    }
    let scale: [f64; TERMS] = std::array::from_fn(|i| if matrix[i][i] > 0.0 { matrix[i][i].sqrt() } else { 1.0 });
    for i in 0..used {
        right[i] /= scale[i];
        for (entry, other) in matrix[i][..=i].iter_mut().zip(&scale) {
            *entry /= scale[i] * other;
        }
        matrix[i][i] += if i == 0 { 0.0 } else { RIDGE };
    }
    let solved = solve(matrix, right, used)?;
    Some(std::array::from_fn(|i| if i < used { solved[i] / scale[i] } else { 0.0 }))
}

fn weight(row: &RegressionRow, yellow_mm_per_h: f64) -> f64 {
    let everyday = row.terms[1] < EVERYDAY_SHARE * yellow_mm_per_h;
    let flood = row.highest_mm_per_h > FLOOD_SHARE * yellow_mm_per_h;
    (if everyday { EVERYDAY_WEIGHT } else { 1.0 }) + (if flood { FLOOD_WEIGHT } else { 0.0 })
}

/// Cholesky on the lower triangle; None if the matrix is not positive definite.
fn solve(mut l: [[f64; TERMS]; TERMS], mut x: [f64; TERMS], n: usize) -> Option<[f64; TERMS]> {
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| l[i][k] * l[j][k]).sum();
            let rest = l[i][j] - dot;
            l[i][j] = if i == j { (rest > 0.0).then(|| rest.sqrt())? } else { rest / l[j][j] };
        }
    }
    for i in 0..n {
        let known: f64 = (0..i).map(|k| l[i][k] * x[k]).sum();
        x[i] = (x[i] - known) / l[i][i];
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| l[k][i] * x[k]).sum();
        x[i] = (x[i] - known) / l[i][i];
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weighted_sum_is_found_again() {
        let row = |i: usize| {
            let x = |k: usize| ((i * (k + 3) * 7919) % 101) as f64 / 101.0;
            let terms: [f64; TERMS] = std::array::from_fn(|k| if k == 0 { 1.0 } else { x(k) });
            RegressionRow { terms, highest_mm_per_h: 0.2 + 0.9 * terms[1] + 0.4 * terms[3] }
        };
        let rows: Vec<_> = (0..2000).map(row).collect();
        let fit = fit_regression(&rows, OBSERVED_TERMS, 1.0).expect("enough rows");
        assert!((fit[1] - 0.9).abs() < 0.03 && (fit[3] - 0.4).abs() < 0.03, "{fit:?}");
        assert_eq!(fit[10], 0.0);
    }

    #[test]
    fn too_few_rows_give_no_fit() {
        assert_eq!(fit_regression(&[], TERMS, 1.0), None);
    }
}
