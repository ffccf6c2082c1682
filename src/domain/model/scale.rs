//! Which pairs have prices too small for six decimals, judged by their currencies alone.
//!
//! Prices are whole millionths (`DECIMAL(12,6)`). A price below [`limits::FINE_PRICE_MICROS`] loses more than a basis point by rounding:
//! its bars would be flat. Such a pair is refused, and the message names its inverse.

use crate::domain::model::{Price, Symbol};
use crate::limits;

/// Roughly how many units of a currency one US dollar buys, for currencies of low value. A currency that is not listed counts as one
/// dollar, so an unknown currency is never refused. A factor of two does not matter.
const UNITS_A_DOLLAR: &str = "\
    ALL 90, AMD 390, AOA 900, ARS 1000, BDT 120, BIF 2900, BRL 5, BTN 84, CDF 2800, CLP 940, COP 4000, \
    CRC 510, CZK 23, DJF 178, DOP 60, DZD 134, EGP 49, ETB 120, GNF 8600, HTG 132, HUF 360, IDR 16000, INR 84, \
    IQD 1310, IRR 42000, ISK 138, JMD 158, JPY 150, KES 129, KHR 4050, KMF 450, KPW 900, KRW 1370, KZT 490, \
    LAK 21900, LBP 89500, LKR 295, LRD 190, MGA 4600, MMK 2100, MNT 3400, MWK 1730, MXN 18, NGN 1600, NPR 134, \
    PHP 57, PKR 278, PYG 7800, RSD 107, RUB 90, RWF 1360, SDG 600, SLL 22600, SOS 570, SYP 13000, THB 34, \
    TRY 34, TWD 32, TZS 2700, UGX 3680, UYU 42, UZS 12800, VND 25000, XAF 605, XOF 605, YER 250";

/// Why a pair cannot be served, and what to do instead; `None` when the scale holds its prices.
pub fn refusal(symbol: Symbol) -> Option<String> {
    let (base, quote) = symbol.as_str().split_once('/')?;
    let about = Price::from_micros(units(quote).saturating_mul(Price::UNIT).checked_div(units(base))?);
    (about.micros() < limits::FINE_PRICE_MICROS).then(|| sentence(symbol, about))
}

/// [`refusal`] for a pair whose last price is known.
pub fn refusal_at(symbol: Symbol, price: Price) -> Option<String> {
    (price > Price::default() && price.micros() < limits::FINE_PRICE_MICROS).then(|| sentence(symbol, price))
}

fn sentence(symbol: Symbol, about: Price) -> String {
    let inverse = symbol
        .as_str()
        .split_once('/')
        .map(|(base, quote)| format!("{quote}/{base}"));
    format!(
        "{symbol} costs about {about}, and the tables hold six decimals: below {} rounding would change a price by more than a \
         basis point and make its bars flat; serve {} instead",
        Price::from_micros(limits::FINE_PRICE_MICROS),
        inverse.unwrap_or_default()
    )
}

fn units(currency: &str) -> i64 {
    listed()
        .find(|(listed, _)| *listed == currency)
        .map_or(1, |(_, units)| units)
}

fn listed() -> impl Iterator<Item = (&'static str, i64)> {
    UNITS_A_DOLLAR.split(", ").filter_map(|row| {
        let (currency, units) = row.split_once(' ')?;
        Some((currency, units.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_whose_prices_would_be_flat_is_refused_and_its_inverse_named() {
        for (pair, inverse) in [
            ("COP/USD", "USD/COP"),
            ("IDR/EUR", "EUR/IDR"),
            ("HUF/USD", "USD/HUF"),
            ("COP/MXN", "MXN/COP"),
        ] {
            let said = refusal(pair.parse().unwrap()).unwrap_or_else(|| panic!("{pair} is accepted"));
            assert!(said.contains(&format!("serve {inverse} instead")), "{said}");
        }
    }

    #[test]
    fn a_pair_that_the_scale_holds_is_not() {
        for pair in [
            "USD/COP", "EUR/USD", "JPY/USD", "MXN/USD", "COP/JPY", "USD/IRR", "GBP/JPY", "COP/CLP", "BTC/USD",
        ] {
            assert_eq!(refusal(pair.parse().unwrap()), None, "{pair}");
        }
        assert_eq!(refusal_at(Symbol::usdcop(), "3990".parse().unwrap()), None);
        assert!(refusal_at(Symbol::usdcop(), "0.00025".parse().unwrap()).is_some());
    }

    #[test]
    fn no_currency_is_listed_twice() {
        let rows: Vec<_> = listed().collect();
        assert_eq!(rows.len(), UNITS_A_DOLLAR.split(',').count(), "a row cannot be read");
        assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
