//! How far apart two points are, and which of several is nearest: the haversine formula on a sphere, good to half a
//! percent, which no choice between pools notices.

use crate::place::Coordinates;

/// Length of the way between two points along the globe, kilometres.
pub fn kilometres(from: Coordinates, to: Coordinates) -> f64 {
    let (from_latitude, to_latitude) = (from.latitude().to_radians(), to.latitude().to_radians());
    let half_north = ((to_latitude - from_latitude) / 2.0).sin();
    let half_east = ((to.longitude() - from.longitude()).to_radians() / 2.0).sin();
    let chord = half_north.powi(2) + from_latitude.cos() * to_latitude.cos() * half_east.powi(2);
    // Rounding takes antipodes a hair past one, where the arcsine is no number.
    2.0 * EARTH_RADIUS_KM * chord.clamp(0.0, 1.0).sqrt().asin()
}

/// The index of the candidate nearest to `from`, the first of equals; `None` if there is none.
pub fn nearest(from: Coordinates, candidates: impl IntoIterator<Item = Coordinates>) -> Option<usize> {
    candidates
        .into_iter()
        .map(|candidate| kilometres(from, candidate))
        .enumerate()
        .min_by(|(_, one), (_, other)| one.total_cmp(other))
        .map(|(index, _)| index)
}

/// Mean radius of the Earth, IUGG.
pub const EARTH_RADIUS_KM: f64 = 6371.0088;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates::new(latitude, longitude).unwrap()
    }

    #[test]
    fn distances_are_those_of_an_atlas() {
        let half_way_round = EARTH_RADIUS_KM * std::f64::consts::PI;
        for (claim, from, to, expected) in [
            ("a point is where it is", at(50.1, 8.7), at(50.1, 8.7), 0.0),
            ("Frankfurt to New York", at(50.11, 8.68), at(40.71, -74.01), 6_200.0),
            ("Tokyo to San Francisco, over the date line", at(35.68, 139.69), at(37.77, -122.42), 8_270.0),
            ("pole to pole", at(90.0, 0.0), at(-90.0, 77.0), half_way_round),
            ("antipodes on the equator", at(0.0, 0.0), at(0.0, 180.0), half_way_round),
            ("antipodes elsewhere", at(37.3, -122.1), at(-37.3, 57.9), half_way_round),
            ("both names of the date line", at(10.0, 180.0), at(10.0, -180.0), 0.0),
        ] {
            for found in [kilometres(from, to), kilometres(to, from)] {
                assert!((found - expected).abs() <= expected * 0.005 + 0.001, "{claim}: {found} km");
            }
        }
    }

    #[test]
    fn the_nearest_is_found_also_across_the_date_line() {
        let suva = at(-18.14, 178.44);
        let places = [at(50.11, 8.68), at(37.77, -122.42), at(-13.83, -171.77), at(-33.87, 151.21)];
        assert_eq!(nearest(suva, places), Some(2), "Apia");
    }

    #[test]
    fn the_first_of_equals_is_nearest_and_none_of_none() {
        assert_eq!(nearest(at(0.0, 0.0), [at(0.0, 9.0), at(0.0, -9.0)]), Some(0));
        assert_eq!(nearest(at(0.0, 0.0), []), None);
    }

    #[test]
    fn what_is_no_point_on_the_globe_is_no_point() {
        for (latitude, longitude) in
            [(90.1, 0.0), (0.0, -180.1), (f64::NAN, 0.0), (0.0, f64::NAN), (f64::INFINITY, 0.0)]
        {
            assert_eq!(Coordinates::new(latitude, longitude), None, "{latitude} {longitude}");
        }
    }
}
