// Where a sign-in in a second tab ends: the first tab hears of it, and this one goes.

import { session } from './cloakroom.js';

// If nobody can tell, the page stays and its link leads on.
if (await session.refresh({ slide: false }).catch(() => null)) close();
