/* The recurrences of AMSGrad on the online problem as a plain C loop: what the compiled engine is measured against. */

#include <math.h>
#include <stdint.h>

void amsgrad_online(int64_t steps, int64_t log_every, float lr, float beta1, float beta2, float eps, float *losses,
                    float *xs, double *total_regrets, float *final_x)
{
    float x = 0, m = 0, v = 0, v_max = 0;
    double total_regret = 0, power1 = 1, power2 = 1;
    int64_t point = 0;
    for (int64_t t = 0; t < steps; t++) {
        float slope = t % 101 == 1 ? 1010.0f : -10.0f;
        float loss = slope * x - slope * -1.0f;
        total_regret += loss;
        if ((t + 1) % log_every == 0) {
            losses[point] = loss;
            xs[point] = x;
            total_regrets[point] = total_regret;
            point++;
        }
        m = beta1 * m + (1 - beta1) * slope;
        v = beta2 * v + (1 - beta2) * slope * slope;
        if (v > v_max)
            v_max = v;
        float step_size = lr;
        if (power2 > 1e-17) {
            power1 *= beta1;
            power2 *= beta2;
            step_size = lr * sqrt(1 - power2) / (1 - power1);
        }
        x = x - step_size * m / (sqrtf(v_max) + eps);
        if (x > 1)
            x = 1;
        if (x < -1)
            x = -1;
    }
    *final_x = x;
}
