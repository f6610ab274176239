//! Heat in, heat out, and the derating that follows.

use super::options::ThermalState;
use super::parameters::Heat;

/// One heat capacity behind one thermal resistance, and which derating is in force.
///
/// It is stepped by whoever owns it, on a grid of its own choosing: the result depends on the grid, so one run keeps to
/// one grid. Each step is the implicit Euler rule, which is stable for steps of any length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thermal {
    heat: Heat,
    celsius: f64,
    state: ThermalState,
}

impl Thermal {
    /// A device that begins in `start`: at the temperature of its surroundings, or half-way to what comes next.
    pub fn new(heat: Heat, start: ThermalState) -> Thermal {
        let celsius = match start {
            ThermalState::Cold => heat.ambient_c,
            ThermalState::Warm => (heat.warm_c + heat.hot_c) / 2.0,
            ThermalState::Hot => heat.hot_c,
        };
        Thermal { heat, celsius, state: start }
    }

    /// Lets `seconds` pass in which `joules` of heat came in.
    pub fn step(&mut self, seconds: f64, joules: f64) {
        let heat = &self.heat;
        let tau = heat.kelvin_watt * heat.joules_kelvin;
        let warmed = self.celsius + joules / heat.joules_kelvin;
        self.celsius = (warmed + heat.ambient_c * (seconds / tau)) / (1.0 + seconds / tau);
        self.state = match self.state {
            _ if self.celsius >= heat.hot_c => ThermalState::Hot,
            ThermalState::Hot if self.celsius > heat.hot_c - heat.recovery_k => ThermalState::Hot,
            ThermalState::Hot | ThermalState::Warm if self.celsius > heat.warm_c - heat.recovery_k => {
                ThermalState::Warm
            }
            ThermalState::Cold if self.celsius >= heat.warm_c => ThermalState::Warm,
            _ => ThermalState::Cold,
        };
    }

    /// The derating in force.
    pub fn state(&self) -> ThermalState {
        self.state
    }

    /// The temperature in degrees Celsius.
    pub fn celsius(&self) -> f64 {
        self.celsius
    }

    /// The share of the full rate that is left.
    pub fn share(&self) -> f64 {
        match self.state {
            ThermalState::Cold => 1.0,
            ThermalState::Warm => self.heat.warm_share,
            ThermalState::Hot => self.heat.hot_share,
        }
    }

    /// Whether nothing changes any more while no heat comes in.
    pub fn is_at_rest(&self) -> bool {
        self.state == ThermalState::Cold && (self.celsius - self.heat.ambient_c).abs() < 1e-6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone() -> Heat {
        Heat {
            ambient_c: 25.0,
            kelvin_watt: 8.0,
            joules_kelvin: 200.0,
            warm_c: 32.0,
            hot_c: 45.0,
            recovery_k: 2.0,
            warm_share: 0.9,
            hot_share: 0.66,
        }
    }

    #[test]
    fn sustained_load_heats_derates_and_recovers() {
        let mut thermal = Thermal::new(phone(), ThermalState::Cold);
        let mut seen = vec![thermal.state()];
        for tick in 0..6 * 3600 {
            thermal.step(1.0, if tick < 3 * 3600 { 3.0 } else { 0.0 });
            if seen.last() != Some(&thermal.state()) {
                seen.push(thermal.state());
            }
            if tick == 3 * 3600 - 1 {
                assert!(
                    (thermal.celsius() - 49.0).abs() < 0.1,
                    "3 W through 8 K/W add 24 degrees: {}",
                    thermal.celsius()
                );
            }
        }
        use ThermalState::{Cold, Hot, Warm};
        assert_eq!(seen, [Cold, Warm, Hot, Warm, Cold]);
        assert!((thermal.celsius() - 25.0).abs() < 0.1);
    }

    #[test]
    fn a_threshold_is_left_below_where_it_was_entered() {
        let mut thermal = Thermal::new(phone(), ThermalState::Cold);
        while thermal.state() == ThermalState::Cold {
            thermal.step(1.0, 3.0);
        }
        let entered = thermal.celsius();
        while thermal.state() == ThermalState::Warm {
            thermal.step(1.0, 0.0);
        }
        assert!(entered - thermal.celsius() > 1.9);
    }

    #[test]
    fn the_start_is_in_the_state_asked_for_and_stays_there_for_a_while() {
        for start in [ThermalState::Cold, ThermalState::Warm, ThermalState::Hot] {
            let mut thermal = Thermal::new(phone(), start);
            (0..20).for_each(|_| thermal.step(0.1, 0.0));
            assert_eq!(thermal.state(), start);
        }
    }
}
