// Pages of trainings; loaded by them only, because of the charts.

import { wireLaunch } from "./launch.js";
import { wireTraining } from "./training.js";
import { wireComparison, wireTrainings } from "./trainings.js";

wireTraining();
wireTrainings();
wireComparison();
wireLaunch();
