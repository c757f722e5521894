// The distribution functions behind intervals and p-values. Absolute error below 1e-10 for the
// ranges met here (degrees of freedom 0.5 to 1e6). NaN in, or parameters out of range: NaN out.
#ifndef WATTLAW_STATS_SPECIAL_H
#define WATTLAW_STATS_SPECIAL_H

// ln(Gamma(x)), x > 0: Stirling's series (Abramowitz & Stegun 6.1.40) after shifting x above 10.
double stats_ln_gamma(double x);
// Regularised incomplete beta function I_x(a, b), a, b > 0, 0 <= x <= 1: the continued fraction
// NIST DLMF 8.17.22 by the modified Lentz method.
double stats_incomplete_beta(double a, double b, double x);

double stats_normal_cdf(double z);
double stats_normal_quantile(double p); // 0 < p < 1
double stats_student_cdf(double t, double dof);
double stats_student_quantile(double p, double dof); // 0 < p < 1
double stats_f_cdf(double f, double dof1, double dof2);
// P(|T| > |t|): the two-sided p-value of a t statistic, exact in the far tail too.
double stats_student_two_sided_p(double t, double dof);
// P(F > f): the p-value of an F statistic, exact in the far tail too.
double stats_f_upper_p(double f, double dof1, double dof2);

#endif
